#!/usr/bin/env python3
"""Golden values of training for few bits on the small vision transformer of tiny_vit.py: with roundings (8 bits and a scale for each
output, 4 bits and one scale), with noise of integers, with zeroed blocks, and with code books; four steps each. And the ranges that
PyTorch's histogram observer narrows to, of bins that are a power of two wide.

    /usr/bin/python3 tests/goldens/make_quantised_training.py
"""
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.ao.quantization.observer import HistogramObserver

import tiny_vit as vit

OUTPUT = Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/Quantised/training.json"
STEPS, RATE, MOMENTUM, CALIBRATION = 4, 0.05, 0.25, 9
PLACES = ("ln1", "attention", "ln2", "gelu")
LAYERS = [f"{vit.LAYERS}{b}.{name}" for b in range(vit.BLOCKS)
          for name in ("attn.query", "attn.key", "attn.value", "attn.out", "ffn.fc1", "ffn.fc2")]
CHECKED = [vit.LAYERS + "0.attn.query.weight", vit.LAYERS + "1.ffn.fc2.weight", "head.weight"]
BLOCK, ENTRIES = 4, 5


def rounded(x, scale, zero, low, high):
    """Steps forward; backward a line, but for what is cut."""
    code = torch.round(x / scale) + zero
    inside = (code >= low) & (code <= high)
    passes = torch.where(inside, x, x.detach())
    return passes + ((code.clamp(low, high) - zero) * scale - passes).detach()


def weight_scale(w, bits, per_channel):
    high = 2 ** (bits - 1) - 1
    most = w.detach().abs().amax(1, keepdim=True) if per_channel else w.detach().abs().max()
    return most / high, high


def value_scale(low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    return scale, round(-low / scale)


def calibrated(p):
    seen = {}
    with torch.no_grad():
        vit.forward(p, vit.batch(CALIBRATION)[0], lambda place, b, y: seen.setdefault((place, b), y))
    return {k: (v.min().item(), v.max().item()) for k, v in seen.items() if k[0] in PLACES}


def train(p, weights, gate, after=lambda: None):
    losses = []
    optimizer = torch.optim.SGD([v for v in p.values() if v.requires_grad], lr=RATE, momentum=0.9, weight_decay=0.01)
    for step in range(STEPS):
        x, y = vit.batch(step)
        loss = F.cross_entropy(vit.forward(weights(step), x, gate), y)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after()
    return losses


def result(p, losses, **more):
    return {"losses": losses, "weights": {name: vit.numbers(p[name]) for name in CHECKED if name in p}, **more}


def qat(bits, per_channel):
    p = vit.weights()
    ranges, seen = calibrated(p), {}

    def gate(place, b, y):
        if place not in PLACES:
            return y
        seen[place, b] = y.detach()
        scale, zero = value_scale(*ranges[place, b])
        return rounded(y, scale, zero, 0, 255)

    def weights(step):
        quantised = dict(p)
        for layer in LAYERS:
            scale, high = weight_scale(p[layer + ".weight"], bits, per_channel)
            quantised[layer + ".weight"] = rounded(p[layer + ".weight"], scale, 0, -high, high)
        return quantised

    def after():
        for k, y in seen.items():
            low, high = ranges[k]
            ranges[k] = (low + MOMENTUM * (y.min().item() - low), high + MOMENTUM * (y.max().item() - high))

    losses = train(p, weights, gate, after)
    return result(p, losses, ranges=[list(ranges[place, b]) for b in range(vit.BLOCKS) for place in PLACES])


def masked(name, step, count, width):
    """Block i of layer n is drawn where sin(3 i + n + step) is above 0.2."""
    n = LAYERS.index(name)
    drawn = np.sin(3.0 * np.arange(count // width) + n + step) > 0.2
    return torch.from_numpy(np.repeat(drawn, width))


def noise():
    p = vit.weights()
    scales = {layer: weight_scale(p[layer + ".weight"], 4, True) for layer in LAYERS}   # of the first step, which stay

    def weights(step):
        noised = dict(p)
        for layer in LAYERS:
            w, (scale, high) = p[layer + ".weight"], scales[layer]
            mask = masked(layer, step, w.numel(), 1).reshape(w.shape)
            cut = torch.where(w.abs() > high * scale, (high * scale * w.sign()).detach(), w)
            noised[layer + ".weight"] = torch.where(mask, rounded(w, scale, 0, -high, high), cut)
        return noised

    return result(p, train(p, weights, lambda place, b, y: y))


def proxy():
    p = vit.weights()

    def weights(step):
        noised = dict(p)
        for layer in LAYERS:
            w = p[layer + ".weight"]
            noised[layer + ".weight"] = w * torch.where(masked(layer, step, w.numel(), BLOCK), 0.0, 1 / 0.8).reshape(w.shape)
        return noised

    return result(p, train(p, weights, lambda place, b, y: y))


def codes(mean):
    p = vit.weights()
    coded = [vit.LAYERS + "0.attn.query.weight", vit.LAYERS + "1.ffn.fc2.weight"]
    books, assigned = {}, {}
    for name in coded:
        outputs, width = p[name].shape
        blocks = width // BLOCK
        assigned[name] = torch.tensor([[(3 * j + o) % ENTRIES for o in range(outputs)] for j in range(blocks)])
        books[name] = vit.single(0.3 * np.sin(np.arange(ENTRIES * BLOCK, dtype=np.float64))).reshape(ENTRIES, BLOCK).requires_grad_()
    plain = {k: v for k, v in p.items() if k not in coded} | {k + ".book": v for k, v in books.items()}

    def weights(step):
        whole = dict(plain)
        for name in coded:
            book = books[name]
            counts = torch.bincount(assigned[name].reshape(-1), minlength=ENTRIES).clamp(min=1).reshape(-1, 1)
            if mean:   # the same values, of which each block's gradient counts less
                book = book / counts + (book - book / counts).detach()
            whole[name] = book[assigned[name]].permute(1, 0, 2).reshape(p[name].shape)
        return whole

    losses = train(plain, weights, lambda place, b, y: y)
    return result(plain, losses, books=[vit.numbers(books[n]) for n in coded])


def histogram(levels_bits, values):
    values = values.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    width = 2.0 ** math.ceil(math.log2((high - low) / 2046))
    first = math.floor(low / width)
    counts = np.bincount(np.floor(values * np.float64(1 / width)).astype(np.int64) - first)
    observer = HistogramObserver(bins=len(counts))
    observer.histogram = torch.from_numpy(counts.astype(np.float64))
    observer.min_val, observer.max_val = torch.tensor(first * width).double(), torch.tensor((first + len(counts)) * width).double()
    observer.dst_nbins = 2 ** levels_bits
    least, most = observer._non_linear_param_search()
    return [float(least), float(most)]


i = np.arange(20000, dtype=np.float64)
u = np.modf(i * 0.61803398875)[0]
long_tail = -np.log(1 - 0.9999 * u) * np.where(np.modf(i * 0.7548776662)[0] < 0.5, -0.3, 1.0)
OUTPUT.parent.mkdir(parents=True, exist_ok=True)
OUTPUT.write_text(json.dumps({
    "names": [name for name, _ in vit.shapes()], "qat8": qat(8, True), "qat4": qat(4, False), "noise": noise(), "proxy": proxy(),
    "mean": codes(True), "sum": codes(False), "histogram8": histogram(8, long_tail), "histogram4": histogram(4, long_tail),
}, separators=(",", ":")) + "\n")
print({k: v["losses"] if isinstance(v, dict) else v for k, v in json.loads(OUTPUT.read_text()).items() if k != "names"})
