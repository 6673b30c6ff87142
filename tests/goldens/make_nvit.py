"""Golden values of NViT (arXiv 2110.04869), written from the paper in plain PyTorch: four training steps of a tiny vision
transformer, units removed after each by squared Taylor scores less a reward for time. Run anywhere with PyTorch 1.13; writes
../Espalier.Tests/Goldens/NVit/steps.safetensors with the first and last weights, the images, scores and masks.
"""
import pathlib

import torch
import torch.nn.functional as fn

from golden import Golden

TARGET = pathlib.Path(__file__).resolve().parent.parent / "Espalier.Tests" / "Goldens" / "NVit"
D, HEADS, WIDTH, MLP, LAYERS, PATCH, CLASSES = 12, 3, 4, 20, 2, 4, 4
STEPS, IMAGES, RATE, MOMENTUM, KEEP, ETA = 4, 8, 0.05, 0.9, 0.6, 0.004
E, B = "transformer.embeddings.", "transformer.encoder.layer.{}."
FEWEST = {"emb": 2, "head": 1, "qk": 2, "v": 2, "mlp": 2}
CHUNK = {"emb": 2, "head": 1, "qk": 1, "v": 1, "mlp": 3}
DIVISOR = {"emb": 12, "head": 12, "qk": 2, "v": 2, "mlp": 1}
COUNT = {"emb": D, "head": HEADS, "qk": WIDTH, "v": WIDTH, "mlp": MLP}


def weights(g):
    shapes = {E + "patch_embeddings.weight": (D, 1, PATCH, PATCH), E + "patch_embeddings.bias": (D,),
              E + "position_embeddings": (1, 5, D), E + "cls_token": (1, 1, D)}
    for i in range(LAYERS):
        b = B.format(i)
        for name in ("attn.query", "attn.key", "attn.value", "attn.out", "ffn.fc1", "ffn.fc2"):
            rows, columns = (MLP, D) if name == "ffn.fc1" else (D, MLP) if name == "ffn.fc2" else (D, D)
            shapes[b + name + ".weight"], shapes[b + name + ".bias"] = (rows, columns), (rows,)
        for name in ("attention_norm", "ffn_norm"):
            shapes[b + name + ".weight"] = shapes[b + name + ".bias"] = (D,)
    for name in (".weight", ".bias"):
        shapes["transformer.encoder.encoder_norm" + name] = (D,)
    shapes["head.weight"], shapes["head.bias"] = (CLASSES, D), (CLASSES,)
    w = {}
    for name, shape in shapes.items():
        w[name] = g.rand(name, *shape, scale=0.1 if name.endswith("bias") else 0.4)
        if "norm" in name and name.endswith("weight"):
            w[name] = 1 + w[name] / 2
    return w


def forward(w, x):
    linear = lambda name, t: fn.linear(t, w[name + ".weight"], w[name + ".bias"])
    norm = lambda name, t: fn.layer_norm(t, (D,), w[name + ".weight"], w[name + ".bias"], 1e-6)
    p = E + "patch_embeddings"
    patches = fn.conv2d(x, w[p + ".weight"], w[p + ".bias"], stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([w[E + "cls_token"].expand(len(x), 1, D), patches], 1) + w[E + "position_embeddings"]
    for i in range(LAYERS):
        b = B.format(i)
        y = norm(b + "attention_norm", x)
        q, k, v = (linear(b + f"attn.{n}", y).unflatten(2, (HEADS, WIDTH)).transpose(1, 2) for n in ("query", "key", "value"))
        y = (q @ k.transpose(2, 3) / WIDTH ** 0.5).softmax(-1) @ v
        x = x + linear(b + "attn.out", y.transpose(1, 2).flatten(2))
        x = x + linear(b + "ffn.fc2", fn.gelu(linear(b + "ffn.fc1", norm(b + "ffn_norm", x))))
    return linear("head", norm("transformer.encoder.encoder_norm", x[:, 0]))


def linked(kind, block, k):
    """(name, axis, entries) of all that is zero without a unit, and those of them that its score is the sum of."""
    b = B.format(block)
    rows = lambda name, e: [(b + name + ".weight", 0, e), (b + name + ".bias", 0, e)]
    if kind == "emb":
        judged = [(E + "patch_embeddings.weight", 0, [k]), (E + "patch_embeddings.bias", 0, [k])]
        other = [(E + "position_embeddings", 2, [k]), (E + "cls_token", 2, [k]), ("head.weight", 1, [k])]
        other += [("transformer.encoder.encoder_norm" + n, 0, [k]) for n in (".weight", ".bias")]
        for i in range(LAYERS):
            c = B.format(i)
            judged += [(c + n + s, 0, [k]) for n in ("attn.out", "ffn.fc2") for s in (".weight", ".bias")]
            judged += [(c + n + ".weight", 1, [k]) for n in ("attn.query", "attn.key", "attn.value", "ffn.fc1")]
            other += [(c + n + s, 0, [k]) for n in ("attention_norm", "ffn_norm") for s in (".weight", ".bias")]
        return judged, other
    if kind == "head":
        e = list(range(k * WIDTH, (k + 1) * WIDTH))
        return sum((rows(f"attn.{n}", e) for n in ("query", "key", "value")), []), [(b + "attn.out.weight", 1, e)]
    e = [h * WIDTH + k for h in range(HEADS)]
    if kind == "qk":
        return rows("attn.query", e), rows("attn.key", e)
    if kind == "v":
        return rows("attn.value", e), [(b + "attn.out.weight", 1, e)]
    return rows("ffn.fc1", [k]), [(b + "ffn.fc2.weight", 1, [k])]


def seconds(left):
    """A time that goes with products of widths."""
    e, total = left[("emb", -1)], 0
    for i in range(LAYERS):
        h, q, v, m = (left[(kind, i)] for kind in ("head", "qk", "v", "mlp"))
        total += e * h * (2 * q + 2 * v) + 2 * e * m
    return total + 50 * e


def main():
    g = Golden()
    w = {k: v.double().requires_grad_() for k, v in weights(g).items()}
    layers = [("emb", -1)] + [(kind, i) for i in range(LAYERS) for kind in ("head", "qk", "v", "mlp")]
    gone = {layer: torch.zeros(COUNT[layer[0]], dtype=torch.bool) for layer in layers}
    score = {layer: torch.zeros(COUNT[layer[0]]).double() for layer in layers}
    arrays = {f"first/{k}": v.detach().clone() for k, v in w.items()}
    arrays["images"] = g.rand("images", STEPS * IMAGES, 1, 8, 8)
    labels = torch.randint(0, CLASSES, (STEPS * IMAGES,), generator=torch.Generator().manual_seed(5))
    arrays["labels"] = labels.float()
    optimizer = torch.optim.SGD(w.values(), lr=RATE, momentum=MOMENTUM)
    units = sum(len(m) for m in gone.values())
    width = lambda: {layer: int((~mask).sum()) for layer, mask in gone.items()}
    whole = seconds(width())
    for step in range(1, STEPS + 1):
        part = slice((step - 1) * IMAGES, step * IMAGES)
        optimizer.zero_grad()
        loss = fn.cross_entropy(forward(w, arrays["images"][part].double()), labels[part])
        loss.backward()
        for (kind, block), s in score.items():
            now = torch.zeros_like(s)
            for k in range(len(s)):
                judged, _ = linked(kind, block, k)
                total = sum((w[n].detach() * w[n].grad).index_select(axis, torch.tensor(e)).sum() for n, axis, e in judged)
                now[k] = (total / DIVISOR[kind]) ** 2
            s.copy_(now if step <= 2 else 0.9 * s + 0.1 * now)
        optimizer.step()

        left, groups = width(), []
        for n, layer in enumerate(layers):
            kind, spare = layer[0], max(0, left[layer] - FEWEST[layer[0]]) // CHUNK[layer[0]] * CHUNK[layer[0]]
            probe = min(spare, max(CHUNK[kind], COUNT[kind] // 4))
            saving = (seconds(left) - seconds({**left, layer: left[layer] - probe})) / probe / whole if probe else 0
            order = sorted((k for k in range(COUNT[kind]) if not gone[layer][k]), key=lambda k: (score[layer][k].item(), k))
            for at in range(0, spare, CHUNK[kind]):
                members = order[at:at + CHUNK[kind]]
                groups.append((sum(score[layer][k].item() - ETA * saving for k in members), n, at, members))
        groups.sort()
        for value, n, _, members in groups:
            if sum(int(m.sum()) for m in gone.values()) >= units - units * (1 - (1 - KEEP) * step / STEPS) - 1e-9:
                print(f"step {step}: loss {loss.item():.4f}, next would be {value:.3e}")
                break
            for k in members:
                gone[layers[n]][k] = True
                for name, axis, e in sum(linked(*layers[n], k), []):
                    optimizer.state[w[name]]["momentum_buffer"].index_fill_(axis, torch.tensor(e), 0)
            last = value
        print(f"  last gone {last:.3e}; left {width()}")
        with torch.no_grad():
            for (kind, block), mask in gone.items():
                for k in torch.nonzero(mask)[:, 0].tolist():
                    for name, axis, e in sum(linked(kind, block, k), []):
                        w[name].index_fill_(axis, torch.tensor(e), 0)
    for n, layer in enumerate(layers):
        arrays[f"gone/{n}"], arrays[f"score/{n}"] = gone[layer].float(), score[layer]
    arrays |= {f"last/{k}": v.detach() for k, v in w.items()}
    for key, value in arrays.items():
        g._put(key, value)
    TARGET.mkdir(parents=True, exist_ok=True)
    g.save(TARGET / "steps.safetensors")


main()
