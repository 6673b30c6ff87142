#!/usr/bin/env python3
"""Golden values of WDPruning (AAAI 2022): four steps of training with masked rows, learned thresholds, a budget with multipliers and
a classifier behind the first block of a small vision transformer.

    /usr/bin/python3 tests/goldens/make_wdpruning.py
"""
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F

import tiny_vit as vit

OUTPUT = Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/WdPruning/steps.json"
STEPS, RATE, LEARN, CLIMB, INITIAL, TARGET = 4, 0.05, 0.3, 10.0, 1.0, 0.4
NORM, HEAD = "transformer.encoder.encoder_norm", "head"
D, M = vit.D, vit.HIDDEN


class Adam:
    def __init__(self, n, initial):
        self.x, self.m, self.v, self.t = torch.full((n,), initial, dtype=torch.float64), 0.0, 0.0, 0

    def step(self, g, rate):
        self.t += 1
        self.m, self.v = 0.9 * self.m + 0.1 * g, 0.999 * self.v + 0.001 * g * g
        self.x = self.x - rate * (self.m / (1 - 0.9 ** self.t)) / ((self.v / (1 - 0.999 ** self.t)).sqrt() + 1e-8)


def mask_of(scores, threshold):
    n = len(scores)
    keep = max(1, math.ceil(n / (1 + math.exp(-threshold))))
    mask = torch.zeros(n, dtype=torch.float64)
    for k in sorted(range(n), key=lambda k: (-scores[k].item(), k))[:keep]:
        mask[k] = 1
    return mask.requires_grad_()


def remaining(t):
    """R of thresholds [block, part]; each layer keeps one row at least."""
    least = torch.tensor([1 / vit.HEADS, 1 / D, 1 / M, 1 / D], dtype=torch.float64)
    a, o, f1, f2 = torch.maximum(torch.sigmoid(t), least).unbind(1)
    parts = 3 * D * D * a + D * D * a * o + M * D * f1 + M * D * f1 * f2
    return parts.sum() / (len(t) * (4 * D * D + 2 * M * D))


p = vit.weights()
exit_parameters = {NORM + ".weight": torch.ones(D), NORM + ".bias": torch.zeros(D), HEAD + ".bias": torch.zeros(vit.CLASSES),
                   HEAD + ".weight": vit.single(0.3 * torch.sin(torch.arange(D * vit.CLASSES).double()).numpy()).reshape(vit.CLASSES, D)}
exit_parameters = {k: v.double().clone().requires_grad_() for k, v in exit_parameters.items()}
layers = [(b, part) for b in range(vit.BLOCKS) for part in range(4)]
size = [vit.HEADS, D, M, D]
names = [["attn.query", "attn.key", "attn.value"], ["attn.out"], ["ffn.fc1"], ["ffn.fc2"]]
scores, thresholds = {k: Adam(size[k[1]], 0.0) for k in layers}, {k: Adam(1, INITIAL) for k in layers}
multipliers, losses = Adam(2, 0.0), []
optimizer = torch.optim.SGD([*p.values(), *exit_parameters.values()], lr=RATE, momentum=0.9, weight_decay=0.01)
cosine = lambda first, step: 1e-5 + (1 + math.cos(math.pi * step / STEPS)) / 2 * (first - 1e-5)
masks = {k: mask_of(scores[k].x, INITIAL) for k in layers}
for step in range(STEPS):
    masked = dict(p)
    for (b, part), mask in masks.items():
        rows = mask.repeat_interleave(D // vit.HEADS) if part == 0 else mask
        for name in names[part]:
            full = f"{vit.LAYERS}{b}.{name}"
            masked[full + ".weight"], masked[full + ".bias"] = p[full + ".weight"] * rows[:, None], p[full + ".bias"] * rows
    x, y = vit.batch(step)
    loss = F.cross_entropy(vit.forward(masked, x), y)
    vit.BLOCKS = 1
    loss = loss + F.cross_entropy(vit.forward({**masked, **exit_parameters}, x), y)
    vit.BLOCKS = 2
    losses.append(loss.item())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

    t = torch.cat([thresholds[k].x for k in layers]).reshape(-1, 4).requires_grad_()
    r = remaining(t)
    slopes = torch.autograd.grad(r, t)[0].reshape(-1)
    over = r.item() - TARGET
    push = multipliers.x[0] + 2 * multipliers.x[1] * over if over > 0 else torch.tensor(0.0)
    for i, k in enumerate(layers):
        g = masks[k].grad
        through = (g * masks[k].detach()).sum() + push * slopes[i]
        scores[k].step(g, cosine(LEARN, step))
        thresholds[k].step(through.reshape(1), cosine(LEARN, step))
    if over > 0:
        multipliers.step(torch.tensor([over, over * over]).double(), -cosine(CLIMB, step))
    masks = {k: mask_of(scores[k].x, thresholds[k].x.item()) for k in layers}
    print(step, loss.item(), over, [int(m.sum()) for m in masks.values()])
checked = [vit.LAYERS + "0.attn.query.weight", vit.LAYERS + "1.ffn.fc2.weight", "head.weight"]
OUTPUT.parent.mkdir(parents=True, exist_ok=True)
OUTPUT.write_text(json.dumps({
    "names": [name for name, _ in vit.shapes()], "losses": losses, "multipliers": vit.numbers(multipliers.x),
    "thresholds": [thresholds[k].x.item() for k in layers], "scores": [vit.numbers(scores[k].x) for k in layers],
    "masks": [vit.numbers(m) for m in masks.values()], "remaining": remaining(torch.cat([thresholds[k].x for k in layers]).reshape(-1, 4)).item(),
    "weights": {name: vit.numbers(p[name]) for name in checked}, "exit": vit.numbers(exit_parameters[HEAD + ".weight"]),
}, separators=(",", ":")) + "\n")
