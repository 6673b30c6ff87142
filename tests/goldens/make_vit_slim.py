#!/usr/bin/env python3
"""Golden values of Vision Transformer Slimming (arXiv 2201.00814): four steps of the search with soft masks in a small vision
transformer, what they choose at some budgets, and what the network gives without the rest.

    /usr/bin/python3 tests/goldens/make_vit_slim.py
"""
import json
from pathlib import Path

import torch
import torch.nn.functional as F

import tiny_vit as vit

OUTPUT = Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/VitSlim/vit-slim.json"
WEIGHTS = {"attention": 0.03, "hidden": 0.01, "tokens": 0.02}
BUDGETS = {"attention": 0.65, "hidden": 0.55, "tokens": 0.5}
RATE, STEPS = 0.05, 4
SIZES = {"attention": vit.D, "hidden": vit.HIDDEN, "tokens": vit.TOKENS}

p = vit.weights()
masks = {kind: [torch.full((n,), 1.0, dtype=torch.float64, requires_grad=True)
                for _ in range(vit.BLOCKS)] for kind, n in SIZES.items()}


def soft(place, block, y):
    if place in ("q", "k", "v"):
        return y * masks["attention"][block]
    if place == "gelu":
        return y * masks["hidden"][block]
    return y * torch.tanh(masks["tokens"][block])[:, None] if place in ("ln1", "ln2") else y


optimizer = torch.optim.SGD([{"params": list(p.values()), "weight_decay": 0.01}, {"params": sum(masks.values(), [])}],
                            lr=RATE, momentum=0.9)
losses = []
for step in range(STEPS):
    x, y = vit.batch(step)
    loss = F.cross_entropy(vit.forward(p, x, soft), y)
    for kind, weight in WEIGHTS.items():
        for m in masks[kind]:
            loss = loss + weight * (torch.tanh(m) if kind == "tokens" else m).abs().sum()
    losses.append(float(loss))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()

kept = {}
for kind, ms in masks.items():
    values = [(torch.tanh(m) if kind == "tokens" else m).detach() for m in ms]
    flat = torch.cat(values).sort().values
    place = int((1 - BUDGETS[kind]) * len(flat))
    assert float(flat[place] - flat[place - 1]) > 1e-6, kind
    kept[kind] = [[i for i, v in enumerate(values[b]) if v >= flat[place]] for b in range(vit.BLOCKS)]
for b in reversed(range(vit.BLOCKS)):
    later = kept["tokens"][b + 1] if b + 1 < vit.BLOCKS else []
    kept["tokens"][b] = sorted({0} | set(kept["tokens"][b]) | set(later))


def hard(place, block, y):
    stay = kept["attention"][block] if place in ("q", "k", "v") else kept["hidden"][block] if place == "gelu" else None
    return y if stay is None else y * torch.tensor([1.0 if i in stay else 0.0 for i in range(y.shape[-1])], dtype=torch.float64)


logits = vit.forward(p, vit.batch(9)[0], hard, kept["tokens"])
OUTPUT.parent.mkdir(parents=True, exist_ok=True)
OUTPUT.write_text(json.dumps({
    "names": [name for name, _ in vit.shapes()], "weights": WEIGHTS, "budgets": BUDGETS, "rate": RATE, "losses": losses,
    "masks": {kind: [vit.numbers(m) for m in ms] for kind, ms in masks.items()},
    "values": {name: vit.numbers(p[name]) for name in (vit.LAYERS + "0.attn.key.weight", vit.LAYERS + "1.ffn.fc1.weight", "head.bias")},
    "kept": kept, "logits": vit.numbers(logits)}) + "\n")
print(losses, kept)
