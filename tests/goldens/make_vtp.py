#!/usr/bin/env python3
"""Golden values of Vision Transformer Pruning (arXiv 2104.08500): four steps of training with scores on the inputs of all linear
layers of a small vision transformer, the dimensions that go, and what the network gives without them.

    /usr/bin/python3 tests/goldens/make_vtp.py
"""
import json
from pathlib import Path

import torch
import torch.nn.functional as F

import tiny_vit as vit

OUTPUT = Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/Vtp/vtp.json"
PLACES = {"ln1": vit.D, "attention": vit.D, "ln2": vit.D, "gelu": vit.HIDDEN}
LAMBDA, RATE, STEPS, SHARE = 0.02, 0.05, 4, 0.38

p = vit.weights()
scores = {(b, place): torch.ones(n, dtype=torch.float64, requires_grad=True) for b in range(vit.BLOCKS) for place, n in PLACES.items()}


def gate(place, block, y):
    return y * scores[block, place] if place in PLACES else y


def train(steps):
    optimizer = torch.optim.SGD([{"params": list(p.values()), "weight_decay": 0.01}, {"params": list(scores.values())}],
                                lr=RATE, momentum=0.9)
    for step in range(steps):
        x, y = vit.batch(step)
        loss = F.cross_entropy(vit.forward(p, x, gate), y)
        losses.append(float(loss))
        optimizer.zero_grad()
        (loss + LAMBDA * sum(a.abs().sum() for a in scores.values())).backward()
        optimizer.step()


losses = []
train(STEPS)
learnt = [vit.numbers(a) for a in scores.values()]
kept = {name: vit.numbers(p[name]) for name in (vit.LAYERS + "0.attn.query.weight", vit.LAYERS + "1.ffn.fc2.weight", "head.bias")}

# Which go: the smallest of all, but one of each head's values and one of every gate stay.
order = []
for key, a in scores.items():
    a = a.detach().abs()
    parts = a.view(vit.HEADS, -1) if key[1] == "attention" else a.view(1, -1)
    stays = {h * parts.shape[1] + int(parts[h].argmax()) for h in range(len(parts))}
    order += [(float(s), key, i) for i, s in enumerate(a) if i not in stays]
order.sort(key=lambda o: o[0])
total = sum(len(a) for a in scores.values())
gone = order[:int(total * SHARE)]
assert order[len(gone)][0] - gone[-1][0] > 2e-5, "too near to tell apart"
with torch.no_grad():
    for _, key, i in gone:
        scores[key][i] = 0
    logits = vit.forward(p, vit.batch(9)[0], gate)
OUTPUT.parent.mkdir(parents=True, exist_ok=True)
OUTPUT.write_text(json.dumps({
    "names": [name for name, _ in vit.shapes()], "lambda": LAMBDA, "rate": RATE, "share": SHARE, "losses": losses, "scores": learnt,
    "weights": kept, "gone": [sorted(i for _, key, i in gone if key == k) for k in scores], "logits": vit.numbers(logits)}) + "\n")
print(losses, [len(g) for g in json.loads(OUTPUT.read_text())["gone"]])
