#!/usr/bin/env python3
"""Golden values of Patch Slimming (arXiv 2106.02852) on a small vision transformer of four blocks: what every position of every
block is worth, by multiplying attentions along every path of heads, the search from the last block back with its tuning of single
blocks, and four training steps of a network whose blocks keep fewer and fewer positions.

    /usr/bin/python3 tests/goldens/make_patch_slimming.py
"""
import itertools
import json
from pathlib import Path

import torch
import torch.nn.functional as F

import tiny_vit as vit

OUTPUT = Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/PatchSlimming/steps.json"
EPSILON, STEP, TUNE, TUNE_RATE, CLIP = 1, 1, 4, 0.003, 1
STEPS, RATE = 4, 0.05
UNEVEN = [[0, 1, 2, 4], [0, 2, 4], [0, 4], [0]]
vit.BLOCKS = 4
D, H, T, L = vit.D, vit.HEADS, vit.TOKENS, vit.BLOCKS
d = D // H


def norm(p, x, name):
    return F.layer_norm(x, (D,), p[name + ".weight"], p[name + ".bias"], 1e-6)


def linear(p, x, name):
    return F.linear(x, p[name + ".weight"], p[name + ".bias"])


def embed(p, x):
    e = "transformer.embeddings."
    patches = F.conv2d(x, p[e + "patch_embeddings.weight"], p[e + "patch_embeddings.bias"], stride=4).flatten(2).transpose(1, 2)
    return torch.cat([p[e + "cls_token"].expand(len(x), 1, D), patches], 1) + p[e + "position_embeddings"]


def block(p, b, x, there, kept):
    """x [n, tokens that are there, D]. Only kept tokens ask; all that are there answer.

    Returns the output of the kept ones and attention [n, H, kept, there]."""
    l, n = f"{vit.LAYERS}{b}.", len(x)
    own = [there.index(t) for t in kept]
    heads = lambda y: y.view(n, -1, H, d).transpose(1, 2)
    u = norm(p, x, l + "attention_norm")
    q, k, v = (heads(linear(p, y, l + "attn." + w)) for y, w in ((u[:, own], "query"), (u, "key"), (u, "value")))
    attention = torch.softmax(q @ k.transpose(-1, -2) / d ** 0.5, -1)
    x = x[:, own] + linear(p, (attention @ v).transpose(1, 2).reshape(n, len(own), D), l + "attn.out")
    return x + linear(p, F.gelu(linear(p, norm(p, x, l + "ffn_norm"), l + "ffn.fc1")), l + "ffn.fc2"), attention


def forward(p, x, kept):
    x, there = embed(p, x), ALL
    for b in range(L):
        x, _ = block(p, b, x, there, kept[b])
        there = kept[b]
    return linear(p, norm(p, x[:, 0], "transformer.encoder.encoder_norm"), "head")


def significance(p, x, t, kept):
    """Of every token of block t's output: the mean over images and over all paths of heads through the later blocks, which are
    cut by now. Nothing before is cut, nor is block t."""
    z, later, own = embed(p, x), [], None
    there = ALL
    for b in range(L):
        before = z
        z, attention = block(p, b, z, there, kept[b] if b > t else ALL)
        if b == t:
            own = torch.einsum("nhij,njc->nhic", attention, before.abs())
        if b > t:
            # A matrix of all tokens, with zeros where a row was cut or a column is not there.
            full = torch.zeros(len(x), H, T, T, dtype=torch.float64)
            for i, row in enumerate(kept[b]):
                full[:, :, row, there] = attention[:, :, i]
            later.append(full)
        there = kept[b] if b > t else ALL
    paths = list(itertools.product(range(H), repeat=len(later)))
    scores = torch.zeros(len(x), T, dtype=torch.float64)
    for path in paths:
        product = torch.eye(T, dtype=torch.float64)
        for attention, h in zip(later, path):
            product = attention[:, h] @ product
        for h in range(H):
            scores += (product ** 2).sum(1) * (own[:, h] ** 2).sum(2)
    return (scores / len(paths)).mean(0)


ALL = list(range(T))
p = vit.weights()
original = {name: value.detach().clone() for name, value in p.items()}
images = [vit.batch(0)[0], vit.batch(1)[0]]


def before(x, t):
    """Block t's input and the next one's output in the original network."""
    with torch.no_grad():
        z = embed(original, x)
        for b in range(t):
            z, _ = block(original, b, z, ALL, ALL)
        y = z
        for b in (t, t + 1):
            y, _ = block(original, b, y, ALL, ALL)
        return z, y


def error(x, t, kept):
    z, wanted = before(x, t)
    y, _ = block(p, t, z, ALL, kept[t])
    y, _ = block(p, t + 1, y, kept[t], kept[t + 1])
    return F.mse_loss(y, wanted[:, kept[t + 1]])


kept = [ALL] * (L - 1) + [[0]]
trace = []
for t in range(L - 2, -1, -1):
    with torch.no_grad():
        s = significance(p, torch.cat(images), t, kept)
    rest = sorted(set(ALL) - set(kept[t + 1]), key=lambda i: (-s[i].item(), i))
    r = 0
    while True:
        kept[t] = sorted(kept[t + 1] + rest[:r])
        if len(kept[t]) == T:
            trace.append([t, T - 1, 0.0])
            break
        own = [value for name, value in p.items() if name.startswith(f"{vit.LAYERS}{t}.")]
        optimizer = torch.optim.AdamW(own, lr=TUNE_RATE, weight_decay=0)
        for step in range(TUNE):
            for value in p.values():
                value.grad = None
            error(images[step % 2], t, kept).backward()
            torch.nn.utils.clip_grad_norm_(own, CLIP)
            optimizer.step()
        with torch.no_grad():
            e = sum(error(x, t, kept).item() for x in images) / 2
        trace.append([t, len(kept[t]) - 1, e])
        print(t, kept[t], e, s.tolist())
        if e <= EPSILON:
            break
        r += STEP
tuned = [f"{vit.LAYERS}{name}" for name in ("0.attn.query.weight", "1.attn.value.weight", "1.ffn.fc2.bias", "2.ffn.fc1.weight",
                                           "2.attention_norm.weight", "3.attn.out.weight")]
search = {"kept": [k[1:] for k in kept], "trace": trace, "weights": {name: vit.numbers(p[name]) for name in tuned}}

p = vit.weights()
with torch.no_grad():
    scores = [vit.numbers(significance(p, images[0], t, UNEVEN)) for t in range(L - 1)]
    first = vit.numbers(forward(p, images[0], UNEVEN))
optimizer = torch.optim.SGD(list(p.values()), lr=RATE, momentum=0.9, weight_decay=0.01)
losses = []
for step in range(STEPS):
    x, y = vit.batch(step)
    optimizer.zero_grad()
    loss = F.cross_entropy(forward(p, x, UNEVEN), y)
    losses.append(loss.item())
    loss.backward()
    optimizer.step()
print(scores, losses)
trained = tuned + ["transformer.embeddings.position_embeddings", "transformer.embeddings.patch_embeddings.weight",
                   f"{vit.LAYERS}0.attn.value.weight", f"{vit.LAYERS}3.attn.key.weight", "head.weight"]
OUTPUT.parent.mkdir(parents=True, exist_ok=True)
OUTPUT.write_text(json.dumps({
    "names": [name for name, _ in vit.shapes()], "search": search,
    "cut": {"kept": [k[1:] for k in UNEVEN], "scores": scores, "first": first, "losses": losses,
            "logits": vit.numbers(forward(p, vit.batch(STEPS)[0], UNEVEN)),
            "weights": {name: vit.numbers(p[name]) for name in trained}},
}, separators=(",", ":")) + "\n")
