#!/usr/bin/env python3
"""Golden values for the Optim tests, from PyTorch: weights after steps 1, 2 and 10 of given gradients, and clipped gradients.

    tests/goldens/make_optim.py [OUTPUT_FILE]
"""
import json
import sys
from pathlib import Path

import torch

DEFAULT = Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/Optim/optim.json"
OUTPUT = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
OUTPUT.parent.mkdir(parents=True, exist_ok=True)
SIZE, STEPS, KEPT = 37, 10, (1, 2, 10)
torch.manual_seed(1)


def numbers(t):
    return [float(f"{x:.9g}") for x in t.detach().double().flatten().tolist()]


start = torch.randn(SIZE)
gradients = torch.randn(STEPS, SIZE) * torch.logspace(-4, 1, SIZE)
variants = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd-decay": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.01),
    "sgd-momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01),
    "sgd-nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adam-decay": lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.95), eps=1e-5, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01),
    "adamw-decay": lambda p: torch.optim.AdamW(p, lr=0.01, betas=(0.8, 0.95), eps=1e-5, weight_decay=0.3),
}
weights = {}
for name, make in variants.items():
    parameter = torch.nn.Parameter(start.clone())
    optimizer = make([parameter])
    weights[name] = {}
    for step in range(1, STEPS + 1):
        parameter.grad = gradients[step - 1].clone()
        optimizer.step()
        if step in KEPT:
            weights[name][step] = numbers(parameter)

parts = [torch.nn.Parameter(torch.zeros(n)) for n in (5, 17)]
clip = []
for limit in (0.5, 100.0):
    for part in parts:
        part.grad = torch.arange(1.0, part.numel() + 1) / 10
    norm = torch.nn.utils.clip_grad_norm_(parts, limit)
    clip.append({"limit": limit, "norm": float(norm), "gradients": [numbers(p.grad) for p in parts]})

OUTPUT.write_text(json.dumps({"start": numbers(start), "gradients": [numbers(g) for g in gradients], "weights": weights,
                              "clip": clip}, indent=None, separators=(",", ":")) + "\n")
