#!/usr/bin/env python3
"""Golden values of SPViT (arXiv 2111.11802): four steps of the search of a small vision transformer, in which each block runs attention
and both convolutions that its weights make, and gates are drawn.

    /usr/bin/python3 tests/goldens/make_spvit.py
"""
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F

import tiny_vit as vit

OUTPUT = Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/SPVit/steps.json"
STEPS, RATE, LEARN, INITIAL, LAMBDA, TARGET, ALPHA = 4, 0.05, 0.3, 0.5, 0.3, 0.4, 0.5
D, H, M, N, T = vit.D, vit.HEADS, vit.HIDDEN, vit.TOKENS - 1, vit.TOKENS
d = D // H
double = torch.float64


class Adam:
    def __init__(self, n, initial):
        self.x, self.m, self.v, self.t = torch.full((n,), initial, dtype=double), 0.0, 0.0, 0

    def step(self, g, rate):
        self.t += 1
        self.m, self.v = 0.9 * self.m + 0.1 * g, 0.999 * self.v + 0.001 * g * g
        self.x = self.x - rate * (self.m / (1 - 0.9 ** self.t)) / ((self.v / (1 - 0.999 ** self.t)).sqrt() + 1e-8)


draws = 0


def uniform(n):
    """The fractions of multiples of the golden ratio."""
    global draws
    draws += n
    return torch.tensor([(i * 0.6180339887498949) % 1 for i in range(draws - n + 1, draws + 1)], dtype=double)


def sample(g):
    u = uniform(len(g))
    soft = torch.sigmoid(torch.log(u) - torch.log(1 - u) + g)
    hard = (soft > 0.5).double()
    return hard + soft - soft.detach()


def indicator(g):
    p = torch.sigmoid(g)
    s = torch.sigmoid(p - 0.5)
    return (p > 0.5).double() + s - s.detach()


def factors(v):
    """Of conv1, conv3 and attention; the most complex open gate alone learns."""
    v = list(v)
    on = [x.item() > 0.5 for x in v]
    if on[0] and on[1]:
        v[0] = v[0].detach()
        if on[2]:
            v[1] = v[1].detach()
    z1, z2, z3 = v[0], v[0] * v[1], v[0] * v[1] * v[2]
    return z1 * (1 - z2) * (1 - z3), z2 * (1 - z3), z3


def shifted(map, dy, dx):
    """What the neighbour dy lines down and dx columns across holds, zero outside."""
    padded = F.pad(map, (1, 1, 1, 1))
    return padded[:, :, 1 + dy:1 + dy + map.shape[2], 1 + dx:1 + dx + map.shape[3]]


def convolved(p, b, u, side, taps):
    """u [n, T, D] behind the norm. Every tap is spelt out: what it reads, and what of the heads it is."""
    l = f"{vit.LAYERS}{b}.attn."
    n = len(u)
    e = torch.softmax(p[l + "search.mixing"].T / ALPHA, 0)
    wv, bv = p[l + "value.weight"].view(H, d, D), p[l + "value.bias"].view(H, d)
    wo = p[l + "out.weight"].view(D, H, d)
    map = u[:, 1:].transpose(1, 2).reshape(n, D, 2, 2)
    y, back = 0, 0
    for tap in taps:
        k = torch.einsum("h,hij->ij", e[:, tap], wv)
        y = y + torch.einsum("ij,njyx->niyx", k, shifted(map, tap % 3 - 1, tap // 3 - 1)) + (e[:, tap] @ bv)[None, :, None, None]
        back = back + torch.einsum("h,jhi->ji", e[:, tap], wo)
    norm = f"{l}search.norm{side}."
    y = F.relu(F.batch_norm(y, p[norm + "running_mean"], p[norm + "running_var"], p[norm + "weight"], p[norm + "bias"], True, 0.1, 1e-5))
    y = torch.einsum("ji,niyx->njyx", back, y) + p[l + "out.bias"][None, :, None, None]
    return torch.cat([torch.zeros(n, 1, D, dtype=double), y.flatten(2).transpose(1, 2)], 1)


def forward(p, x, operations, units):
    n, e = len(x), "transformer.embeddings."
    patches = F.conv2d(x, p[e + "patch_embeddings.weight"], p[e + "patch_embeddings.bias"], stride=4).flatten(2).transpose(1, 2)
    x = torch.cat([p[e + "cls_token"].expand(n, 1, D), patches], 1) + p[e + "position_embeddings"]
    norm = lambda y, name: F.layer_norm(y, (D,), p[name + ".weight"], p[name + ".bias"], 1e-6)
    linear = lambda y, name: F.linear(y, p[name + ".weight"], p[name + ".bias"])
    for b in range(vit.BLOCKS):
        l = f"{vit.LAYERS}{b}."
        u = norm(x, l + "attention_norm")
        q, k, v = (linear(u, l + "attn." + w).view(n, T, H, d).transpose(1, 2) for w in ("query", "key", "value"))
        a = torch.softmax(q @ k.transpose(-1, -2) / d ** 0.5, -1) @ v
        one, three, attention = factors(operations[b])
        x = x + attention * linear(a.transpose(1, 2).reshape(n, T, D), l + "attn.out") \
            + three * convolved(p, b, u, 3, range(9)) + one * convolved(p, b, u, 1, [4])
        x = x + linear(units[b] * F.gelu(linear(norm(x, l + "ffn_norm"), l + "ffn.fc1")), l + "ffn.fc2")
    return linear(norm(x[:, 0], "transformer.encoder.encoder_norm"), "head")


CONV1, CONV3, ATTENTION, UNIT = 2 * D * d * N, 10 * D * d * N, 4 * T * D * D + 2 * T * T * D, 2 * T * D
REST = N * 16 * D + vit.CLASSES * D
WHOLE = REST + vit.BLOCKS * (ATTENTION + M * UNIT)


def share(operations, units):
    cost = REST
    for v, m in zip(operations, units):
        i1, i2, i3 = v[0], v[0] * v[1], v[0] * v[1] * v[2]
        cost = cost + i1 * CONV1 + i2 * (CONV3 - CONV1) + i3 * (ATTENTION - CONV3) + UNIT * m.sum()
    return cost / WHOLE


p = vit.weights()
for b in range(vit.BLOCKS):
    l = f"{vit.LAYERS}{b}.attn.search."
    p[l + "mixing"] = torch.ones(9, H, dtype=double)
    for side in (1, 3):
        p[f"{l}norm{side}.weight"], p[f"{l}norm{side}.bias"] = torch.ones(d, dtype=double), torch.zeros(d, dtype=double)
    # Heads are not alike, so that it matters which tap is which.
    p[l + "mixing"] += 0.3 * torch.sin(torch.arange(9 * H).double() + b).view(9, H)
    p[l + "mixing"] = vit.single(p[l + "mixing"].numpy())
learnt = [p[k].clone().requires_grad_() for k in p]
p = dict(zip(p, (t.detach().requires_grad_() for t in learnt)))
optimizer = torch.optim.SGD(list(p.values()), lr=RATE, momentum=0.9, weight_decay=0.01)
for b in range(vit.BLOCKS):
    for side in (1, 3):
        l = f"{vit.LAYERS}{b}.attn.search.norm{side}."
        p[l + "running_mean"], p[l + "running_var"] = torch.zeros(d, dtype=double), torch.ones(d, dtype=double)

operations = [Adam(3, INITIAL) for _ in range(vit.BLOCKS)]
units = [Adam(M, INITIAL) for _ in range(vit.BLOCKS)]
losses, shares, drawn = [], [], []
for step in range(STEPS):
    raw = [g.x.clone().requires_grad_() for pair in zip(operations, units) for g in pair]
    values = [sample(g) for g in raw]
    drawn.append([[round(v.item()) for v in values[2 * b]] for b in range(vit.BLOCKS)])
    x, y = vit.batch(step)
    loss = F.cross_entropy(forward(p, x, values[0::2], values[1::2]), y)
    losses.append(loss.item())
    optimizer.zero_grad()
    loss.backward(retain_graph=True)
    optimizer.step()
    s = share([indicator(g) for g in raw[0::2]], [indicator(g) for g in raw[1::2]])
    shares.append(s.item())
    penalty = torch.autograd.grad(LAMBDA * (TARGET - s) ** 2, raw)
    for g, r, slope in zip([g for pair in zip(operations, units) for g in pair], raw, penalty):
        g.step((r.grad if r.grad is not None else 0) + slope, LEARN)
    print(step, loss.item(), s.item(), drawn[-1], [g.x[:3].tolist() for g in operations])
checked = [f"{vit.LAYERS}{b}.{name}" for b, name in
           ((0, "attn.value.weight"), (0, "attn.value.bias"), (1, "attn.out.weight"), (0, "attn.query.weight"), (1, "ffn.fc2.weight"),
            (0, "attn.search.mixing"), (1, "attn.search.mixing"), (0, "attn.search.norm1.weight"), (1, "attn.search.norm3.bias"),
            (0, "attn.search.norm3.running_mean"), (1, "attn.search.norm1.running_var"))] + ["head.weight"]
OUTPUT.parent.mkdir(parents=True, exist_ok=True)
OUTPUT.write_text(json.dumps({
    "names": [name for name, _ in vit.shapes()], "losses": losses, "shares": shares, "drawn": drawn,
    "operations": [vit.numbers(g.x) for g in operations], "units": [vit.numbers(g.x) for g in units],
    "weights": {name: vit.numbers(p[name]) for name in checked},
}, separators=(",", ":")) + "\n")
