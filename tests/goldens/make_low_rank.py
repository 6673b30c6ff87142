#!/usr/bin/env python3
"""Golden values of low rank: ENC (arXiv 1811.12781) on a small convolutional network with a stride and groups, and the
activation-aware form (arXiv 2509.25136) on a small vision transformer. Ranks are searched, layers split, and four steps trained.

    /usr/bin/python3 tests/goldens/make_low_rank.py
"""
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import tiny_vit as vit

OUTPUT = Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/LowRank/low-rank.json"
RATE, STEPS, RATIO = 0.05, 4, 0.45


def half_away(x):
    return int(np.floor(x + 0.5))


def train(parameters, loss):
    optimizer = torch.optim.SGD(parameters, lr=RATE, momentum=0.9, weight_decay=0.01)
    losses = []
    for step in range(STEPS):
        x, y = vit.batch(step)
        value = loss(x, y)
        losses.append(float(value))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return losses


# ENC: 1 -> 8, 8 -> 12 of stride 2, 12 -> 12 in two groups, all 3 x 3; the mean; 12 -> 10.
SHAPES = [("conv1.weight", (8, 1, 3, 3)), ("conv2.weight", (12, 8, 3, 3)), ("conv2.bias", (12,)), ("conv3.weight", (12, 6, 3, 3)),
          ("head.weight", (10, 12)), ("head.bias", (10,))]


def cnn_weights():
    return {name: vit.single(0.3 * np.sin(0.9 * np.arange(np.prod(shape)) ** 1.3 + t)).reshape(shape).clone().requires_grad_()
            for t, (name, shape) in enumerate(SHAPES)}


def cnn(p, x):
    x = F.relu(F.conv2d(x, p["conv1.weight"], padding=1))
    x = F.relu(F.conv2d(x, p["conv2.weight"], p["conv2.bias"], stride=2, padding=1))
    x = F.relu(F.conv2d(x, p["conv3.weight"], padding=1, groups=2))
    return F.linear(x.mean((2, 3)), p["head.weight"], p["head.bias"])


def matrices(w, groups):
    """M[(c, i), (j, n)] of each group."""
    return [m.transpose(1, 2, 3, 0).reshape(m.shape[1] * m.shape[2], -1) for m in np.split(w, groups)]


# name, groups, rows of the result, columns of it and of what is read
LAYERS = [("conv2", 1, 4, 4, 8), ("conv3", 2, 4, 4, 4)]
p = cnn_weights()
enc = []
for name, groups, rows, columns, read in LAYERS:
    w = p[name + ".weight"].detach().numpy()
    n, c = w.shape[0] // groups, w.shape[1]
    whole = rows * columns * groups * n * c * 9
    rank = groups * rows * 3 * (read * c + columns * n)
    parts = [np.linalg.svd(m, full_matrices=False) for m in matrices(w, groups)]
    most = min(half_away(whole / rank), 3 * c, 3 * n)
    energy = np.cumsum(sum(s for _, s, _ in parts))
    y = (energy[:most] - energy[0]) / (energy[most - 1] - energy[0])
    least = max(2, half_away(most / 10))
    enc.append(dict(name=name, groups=groups, n=n, c=c, whole=whole, rank=rank, parts=parts, most=most, y=y, least=least))


def enc_ranks(a):
    return [next((r for r in range(l["least"], l["most"]) if l["y"][r - 1] >= a), l["most"]) for l in enc]


def enc_cost(ranks):
    return sum(l["whole"] if r >= l["most"] else r * l["rank"] for l, r in zip(enc, ranks))


budget = (1 - RATIO) * sum(l["whole"] for l in enc)
levels = sorted({0.0} | {float(v) for l in enc for v in l["y"]})
ranks = enc_ranks(max(a for a in levels if enc_cost(enc_ranks(a)) <= budget))
for l, r in zip(enc, ranks):
    assert r < l["most"], "both are split"
    v = np.concatenate([(u[:, :r] * np.sqrt(s[:r])).T.reshape(r, l["c"], 3, 1) for u, s, _ in l["parts"]])
    h = np.concatenate([(np.sqrt(s[:r])[:, None] * t[:r]).reshape(r, 3, l["n"]).transpose(2, 0, 1)[:, :, None] for _, s, t in l["parts"]])
    l["v"], l["h"] = (torch.tensor(x, requires_grad=True) for x in (v, h))


def whole_weight(l):
    v = l["v"].view(l["groups"], -1, l["c"], 3)
    h = l["h"].view(l["groups"], l["n"], -1, 3)
    return torch.einsum("gkci,gnkj->gncij", v, h).reshape(-1, l["c"], 3, 3)


def split_cnn(x):
    return cnn({**p, **{l["name"] + ".weight": whole_weight(l) for l in enc}}, x)


result = {"rate": RATE, "ratio": RATIO, "enc": {
    "ranks": ranks, "most": [l["most"] for l in enc], "energy": [float(v) for v in enc[0]["y"]],
    "logits": vit.numbers(split_cnn(vit.batch(9)[0]))}}
free = [v for k, v in p.items() if k not in ("conv2.weight", "conv3.weight")] + [t for l in enc for t in (l["v"], l["h"])]
result["enc"]["losses"] = train(free, lambda x, y: F.cross_entropy(split_cnn(x), y))
result["enc"]["after"] = vit.numbers(whole_weight(enc[0]))

# The activation-aware form, by whitening: W L = U S V, B A = U_r S_r V_r L^-1.
p = vit.weights()
for t, (name, shape) in enumerate(vit.shapes()):
    if name.startswith(vit.LAYERS) and len(shape) == 2:
        # The formula of the others makes matrices of two ranks.
        p[name] = vit.single(0.4 * np.sin(0.9 * np.arange(np.prod(shape)) ** 1.3 + t)).reshape(shape).clone().requires_grad_()
seen = {}


def watched(p, x):
    linear = F.linear

    def remember(value, weight, bias):
        name = next(k for k, w in p.items() if w is weight)
        seen.setdefault(name[:-len(".weight")], []).append(value.detach().reshape(-1, value.shape[-1]).numpy())
        return linear(value, weight, bias)

    F.linear = remember
    vit.forward(p, x)
    F.linear = linear


for step in (20, 21):
    watched(p, vit.batch(step)[0])
aware = []
for b in range(vit.BLOCKS):
    for layer in ("attn.query", "attn.key", "attn.value", "attn.out", "ffn.fc1", "ffn.fc2"):
        name = f"{vit.LAYERS}{b}.{layer}"
        x = np.concatenate(seen[name])
        w, bias = p[name + ".weight"].detach().numpy(), p[name + ".bias"].detach().numpy()
        mean = x.mean(0)
        values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
        keep = np.sqrt(np.maximum(values, 0)) > 1e-10 * np.sqrt(values.max())
        root = vectors[:, keep] * np.sqrt(values[keep])
        back = (vectors[:, keep] / np.sqrt(values[keep])).T
        u, s, t = np.linalg.svd(w @ root, full_matrices=False)
        n, c = w.shape
        most = min(half_away(n * c / (n + c)), n, c)
        energy = np.cumsum(s ** 2) / np.sum(s ** 2)
        options = [(r, r * (n + c) * vit.TOKENS, float(energy[r - 1])) for r in range(2, most)] + [(most, n * c * vit.TOKENS, 1.0)]
        aware.append(dict(name=name, w=w, bias=bias, mean=mean, u=u, s=s, a=t @ back, root=root, most=most, options=options))

budget = int((1 - RATIO) * sum(l["options"][-1][1] for l in aware))
best = {0: (0.0, [])}
for l in aware:
    after = {}
    for cost, (value, chosen) in best.items():
        for rank, more, gain in l["options"]:
            if cost + more <= budget and (cost + more not in after or after[cost + more][0] < value + gain):
                after[cost + more] = (value + gain, chosen + [rank])
    best = after
value, ranks = max(best.values())
for l, r in zip(aware, ranks):
    if r == l["most"]:
        continue
    # S V L^-1 is this, but for directions that norms leave out of x, where it depends on rounding.
    bb = l["u"][:, :r]
    a = bb.T @ l["w"]
    assert np.abs((a - l["s"][:r, None] * l["a"][:r]) @ l["root"]).max() < 1e-9
    d = np.sqrt(np.abs(bb).max(0) / np.abs(a).max(1))
    l["A"], l["B"] = (torch.tensor(z, requires_grad=True) for z in (a * d[:, None], bb / d))
    l["shift"] = torch.tensor(l["bias"] + (l["w"] - bb @ a) @ l["mean"], requires_grad=True)


def factored():
    q = dict(p)
    for l in aware:
        if "A" in l:
            q[l["name"] + ".weight"], q[l["name"] + ".bias"] = l["B"] @ l["A"], l["shift"]
    return q


gone = {l["name"] + end for l in aware if "A" in l for end in (".weight", ".bias")}
assert 3 <= len(gone) // 2
result["names"] = [name for name, _ in vit.shapes()]
result["aware"] = {"ranks": ranks, "value": value,
                   "energy": [o[2] for o in aware[4]["options"]], "logits": vit.numbers(vit.forward(factored(), vit.batch(9)[0]))}
free = [v for k, v in p.items() if k not in gone] + [t for l in aware if "A" in l for t in (l["A"], l["B"], l["shift"])]
result["aware"]["losses"] = train(free, lambda x, y: F.cross_entropy(vit.forward(factored(), x), y))
result["aware"]["after"] = vit.numbers(vit.forward(factored(), vit.batch(9)[0]))
OUTPUT.parent.mkdir(parents=True, exist_ok=True)
OUTPUT.write_text(json.dumps(result) + "\n")
print(result["enc"]["ranks"], result["enc"]["most"], result["enc"]["losses"], ranks, value, result["aware"]["losses"])
