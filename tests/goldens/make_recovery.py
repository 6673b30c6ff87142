#!/usr/bin/env python3
"""Golden values of recovery without training, by numpy in double precision: ridge fits towards the weights that stay, greedy
elimination, fits of the changed inputs of a network, windows of convolutions, queries and keys, and a small network cut and
solved layer after layer.

    tests/goldens/make_recovery.py [OUTPUT_FILE]
"""
import json
import sys
from pathlib import Path

import numpy as np

DEFAULT = Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/Recovery/recovery.json"
OUTPUT = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
OUTPUT.parent.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(5)


def numbers(a):
    return [float(f"{x:.7g}") for x in np.asarray(a, np.float64).ravel()]


def given(a):
    """Numbers of two decimals, as the tests read them."""
    return [float(f"{x:.2f}") for x in np.asarray(a).ravel()]


def single(a):
    return np.round(a, 2).astype(np.float32).astype(np.float64)


def fit(c, mu, w, b, keep, drop, lam):
    a = np.linalg.solve(c[np.ix_(keep, keep)] + lam * np.eye(len(keep)), c[np.ix_(keep, drop)]).T
    return w[:, keep] + w[:, drop] @ a, b + w[:, drop] @ (mu[drop] - a @ mu[keep])


def refit(x, y, w, alpha):
    """The regression of y on x and 1 that draws towards w."""
    mx, my = x.mean(0), y.mean(0)
    c, cross = (x - mx).T @ (x - mx) / len(x), (y - my).T @ (x - mx) / len(x)
    lam = alpha * np.trace(c) / len(c)
    w2 = w + (cross - w @ c) @ np.linalg.inv(c + lam * np.eye(len(c)))
    return w2, my - w2 @ mx


def windows(h):
    """[N, C, H, W] -> [N H W, C 9] with a padding of 1."""
    p = np.pad(h, ((0, 0), (0, 0), (1, 1), (1, 1)))
    n, c, height, width = h.shape
    taps = [p[:, :, i:i + height, j:j + width] for i in range(3) for j in range(3)]
    return np.stack(taps, 2).transpose(0, 3, 4, 1, 2).reshape(-1, c * 9)


def conv(h, w, b):
    y = windows(h) @ w.reshape(len(w), -1).T + b
    return y.reshape(h.shape[0], h.shape[2], h.shape[3], -1).transpose(0, 3, 1, 2)


cases = {}

# Rows, a layer that reads them, and what is left of it.
n, m = 12, 5
x = single(rng.normal(size=(120, n)) @ rng.normal(size=(n, n)) + 3 * rng.normal(size=n))
mu, c = x.mean(0), np.cov(x.T, bias=True)
w, b = single(rng.normal(size=(m, n))), single(rng.normal(size=m))
inverse, greedy, alive, total, order = np.linalg.inv(c), w.copy(), list(range(n)), 0.0, []
single_scores = (w ** 2).sum(0) / np.diag(inverse)
for _ in range(5):
    s = (greedy[:, alive] ** 2).sum(0) / np.diag(inverse)[alive]
    j = alive[int(np.argmin(s))]
    total += s.min()
    order.append(j)
    greedy = greedy - np.outer(greedy[:, j], inverse[j]) / inverse[j, j]
    inverse = inverse - np.outer(inverse[:, j], inverse[j]) / inverse[j, j]
    alive.remove(j)
    inverse[j, :] = inverse[:, j] = 0
drop = sorted(order)
keep = [i for i in range(n) if i not in drop]
w2, b2 = fit(c, mu, w, b, keep, drop, 0.01 * np.trace(c[np.ix_(keep, keep)]) / len(keep))
exact, _ = fit(c, mu, w, b, keep, drop, 0)
cases["linear"] = dict(x=given(x), weight=given(w), bias=given(b), drop=drop, fitted=numbers(w2), fittedBias=numbers(b2),
                       order=order, total=total, single=numbers(single_scores), exact=numbers(exact))

# What a layer gave, from inputs of a network that has changed.
h = single(rng.normal(size=(150, 6)) @ rng.normal(size=(6, 10)) + 0.1 * rng.normal(size=(150, 10)) + 1)
changed = single(h + 0.3 * rng.normal(size=h.shape) + 0.2)
w, b = single(rng.normal(size=(3, 10))), single(rng.normal(size=3))
keep = list(range(7))
y = single(h @ w.T + b)
w2, b2 = refit(changed[:, keep], y, w[:, keep], 1e-3)
least = np.linalg.lstsq(np.c_[changed[:, keep], np.ones(len(h))], y, rcond=None)[0]
cases["sequential"] = dict(y=given(y), changed=given(changed[:, keep]), weight=given(w[:, keep]), fitted=numbers(w2),
                           fittedBias=numbers(b2), least=numbers(least.T),
                           error=float(((y - changed[:, keep] @ w2.T - b2) ** 2).sum(1).mean()))

# The ridge that the second half of the rows chooses.
base = rng.normal(size=(15, 20))


def relu_rows(count):
    return single(np.maximum(rng.normal(size=(count, 15)) @ base + 0.3 * rng.normal(size=(count, 20)) + 0.5, 0))


xa, xb, w = relu_rows(40), relu_rows(40), single(rng.normal(size=(6, 20)))
drop = sorted(int(i) for i in np.argsort(xa.var(0))[:10])
keep = [i for i in range(20) if i not in drop]
held = []
for alpha in (1e-4, 1e-3, 1e-2, 1e-1, 1):
    w2, b2 = refit(xa[:, keep], xa @ w.T, w[:, keep], alpha)
    held.append(((xb @ w.T - xb[:, keep] @ w2.T - b2) ** 2).sum(1).mean())
cases["halves"] = dict(first=given(xa), second=given(xb), weight=given(w), drop=drop, held=numbers(held))

# Queries and keys of one head, five of eight dimensions.
images, rows, d = 4, 10, 8
q = single(rng.normal(size=(images, rows, d)) + 0.5)
k = single((rng.normal(size=(images, rows, d)) @ np.diag(np.linspace(0.2, 2, d))) @ rng.normal(size=(d, d)))
keep, drop = [0, 2, 3, 6, 7], [1, 4, 5]
one = np.ones((rows, 1))
centred = k - k.mean(1, keepdims=True)
big, side = np.zeros((30, 30)), np.zeros((6, 5))
for a, kc in zip(q, centred):
    a1 = np.c_[a[:, keep], one]
    big += np.kron(kc[:, keep].T @ kc[:, keep], a1.T @ a1)
    side += (a1.T @ a[:, drop]) @ (kc[:, drop].T @ kc[:, keep])
exact = np.linalg.solve(big, side.T.ravel()).reshape(5, 6).T
q1 = [np.c_[a[:, keep], one] for a in q]
pooled = np.linalg.solve(sum(a.T @ a for a in q1), sum(a1.T @ a[:, drop] for a1, a in zip(q1, q))) @ np.linalg.solve(
    sum(c[:, keep].T @ c[:, keep] for c in centred), sum(c[:, keep].T @ c[:, drop] for c in centred)).T


def root(a, power):
    values, vectors = np.linalg.eigh(a)
    return vectors @ np.diag(values ** power) @ vectors.T


def projection(queries, keys, r):
    a, c = sum(v.T @ v for v in queries), sum(v.T @ v for v in keys)
    u, s, vt = np.linalg.svd(root(a, 0.5) @ root(c, 0.5))
    return np.sqrt(s[:r])[:, None] * u[:, :r].T @ root(a, -0.5), np.sqrt(s[:r])[:, None] * vt[:r] @ root(c, -0.5), s


def loss(queries, keys, new_queries, new_keys):
    total = 0
    for a, c, a2, c2 in zip(queries, keys, new_queries, new_keys):
        e = a @ c.T - a2 @ c2.T
        total += ((e - e.mean(1, keepdims=True)) ** 2).sum()
    return float(total)


pq, pk, _ = projection(q, centred, 5)
oq, ok, s = projection(q[:1], centred[:1], 5)
cases["queries"] = dict(
    q=given(q), k=given(k), keep=keep, exact=numbers(exact), pooled=numbers(pooled),
    losses=[loss(q, k, q[:, :, keep], k[:, :, keep]),
            loss(q, k, [a[:, keep] + a1 @ pooled for a, a1 in zip(q, q1)], k[:, :, keep]),
            loss(q, k, [a[:, keep] + a1 @ exact for a, a1 in zip(q, q1)], k[:, :, keep]),
            loss(q, k, [a @ pq.T for a in q], [a @ pk.T for a in k])],
    tail=float((s[5:] ** 2).sum()), one=loss(q[:1], k[:1], [a @ oq.T for a in q[:1]], [a @ ok.T for a in k[:1]]))

# conv1 - ReLU - conv2 - ReLU - flatten - linear: channels 1 and 3 of conv1 and 0 of conv2 go.
images = single(rng.normal(size=(24, 2, 5, 5)))
w1, b1 = single(0.5 * rng.normal(size=(6, 2, 3, 3))), single(0.2 * rng.normal(size=6))
w1[1] = single(w1[0] + 0.3 * w1[1])
w1[3] = single(w1[2] - 0.3 * w1[3])
w2, b2 = single(0.3 * rng.normal(size=(4, 6, 3, 3))), single(0.2 * rng.normal(size=4))
w3, b3 = single(0.2 * rng.normal(size=(3, 100))), single(0.2 * rng.normal(size=3))
relu = lambda v: np.maximum(v, 0)  # noqa: E731
h1 = relu(conv(images, w1, b1))
y2 = conv(h1, w2, b2)
h2 = relu(y2)
y3 = h2.reshape(24, -1) @ w3.T + b3
keep1, keep2 = [0, 2, 4, 5], [1, 2, 3]
flat = [c * 25 + t for c in keep2 for t in range(25)]
s1 = h1[:, keep1]
target = y2.transpose(0, 2, 3, 1).reshape(-1, 4)[:, keep2]
small2, small2b = refit(windows(s1), target, w2[np.ix_(keep2, keep1)].reshape(3, -1), 1e-2)
s2 = relu(conv(s1, small2.reshape(3, 4, 3, 3), small2b))
small3, small3b = refit(s2.reshape(24, -1), y3, w3[:, flat], 1e-2)
parallel3, parallel3b = refit(h2[:, keep2].reshape(24, -1), y3, w3[:, flat], 1e-2)
pixels = h1.transpose(0, 2, 3, 1).reshape(-1, 6)
second = pixels.T @ pixels / len(pixels)
lam = 1e-2 * np.trace(second[np.ix_(keep1, keep1)]) / 4
share = np.eye(6)[:, keep1]
share = share + (second[:, keep1] - share @ second[np.ix_(keep1, keep1)]) @ np.linalg.inv(second[np.ix_(keep1, keep1)] + lam * np.eye(4))
channels2 = np.einsum("ncij,ck->nkij", w2[keep2], share)
cases["network"] = dict(
    images=given(images), w1=given(w1), b1=given(b1), w2=given(w2), b2=given(b2), w3=given(w3), b3=given(b3),
    conv2=numbers(small2), conv2Bias=numbers(small2b), fc=numbers(small3), fcBias=numbers(small3b), parallelFc=numbers(parallel3),
    parallelFcBias=numbers(parallel3b), channelsConv2=numbers(channels2))

OUTPUT.write_text(json.dumps(cases) + "\n")
