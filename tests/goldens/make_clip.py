#!/usr/bin/env python3
"""Golden values of CLIP (arXiv 2103.00020): features, logits and probabilities of a small vision transformer, a small modified ResNet
and a small text transformer, whose weights, images and ids are said by formulas. In double precision.

    /usr/bin/python3 tests/goldens/make_clip.py
"""
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

OUTPUT = Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/Clip/clip.json"
EMBED, IMAGE, PATCH, WIDTH, LAYERS = 24, 32, 8, 128, 2
CONTEXT, VOCABULARY, TEXT = 12, 600, 64
RESNET, RESNET_IMAGE, PLANES = (1, 2, 1, 1), 64, 8
SCALE = 3.1


def block_shapes(prefix, width):
    yield prefix + "attn.in_proj_weight", (3 * width, width)
    yield prefix + "attn.in_proj_bias", (3 * width,)
    yield prefix + "attn.out_proj.weight", (width, width)
    yield prefix + "attn.out_proj.bias", (width,)
    for norm in ("ln_1", "ln_2"):
        yield f"{prefix}{norm}.weight", (width,)
        yield f"{prefix}{norm}.bias", (width,)
    yield prefix + "mlp.c_fc.weight", (4 * width, width)
    yield prefix + "mlp.c_fc.bias", (4 * width,)
    yield prefix + "mlp.c_proj.weight", (width, 4 * width)
    yield prefix + "mlp.c_proj.bias", (width,)


def vit_shapes():
    yield "visual.class_embedding", (WIDTH,)
    yield "visual.positional_embedding", ((IMAGE // PATCH) ** 2 + 1, WIDTH)
    yield "visual.proj", (WIDTH, EMBED)
    yield "visual.conv1.weight", (WIDTH, 3, PATCH, PATCH)
    for norm in ("visual.ln_pre", "visual.ln_post"):
        yield norm + ".weight", (WIDTH,)
        yield norm + ".bias", (WIDTH,)
    for i in range(LAYERS):
        yield from block_shapes(f"visual.transformer.resblocks.{i}.", WIDTH)


def norm_shapes(name, channels):
    for leaf in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{leaf}", (channels,)


def resnet_shapes():
    sizes = [(3, PLANES // 2), (PLANES // 2, PLANES // 2), (PLANES // 2, PLANES)]
    for i, (a, b) in enumerate(sizes):
        yield f"visual.conv{i + 1}.weight", (b, a, 3, 3)
        yield from norm_shapes(f"visual.bn{i + 1}", b)
    channels = PLANES
    for stage, count in enumerate(RESNET):
        planes = PLANES << stage
        for j in range(count):
            p = f"visual.layer{stage + 1}.{j}."
            yield p + "conv1.weight", (planes, channels, 1, 1)
            yield from norm_shapes(p + "bn1", planes)
            yield p + "conv2.weight", (planes, planes, 3, 3)
            yield from norm_shapes(p + "bn2", planes)
            yield p + "conv3.weight", (4 * planes, planes, 1, 1)
            yield from norm_shapes(p + "bn3", 4 * planes)
            if j == 0:
                yield p + "downsample.0.weight", (4 * planes, channels, 1, 1)
                yield from norm_shapes(p + "downsample.1", 4 * planes)
            channels = 4 * planes
    yield "visual.attnpool.positional_embedding", ((RESNET_IMAGE // 32) ** 2 + 1, channels)
    for name, out in (("q_proj", channels), ("k_proj", channels), ("v_proj", channels), ("c_proj", EMBED)):
        yield f"visual.attnpool.{name}.weight", (out, channels)
        yield f"visual.attnpool.{name}.bias", (out,)


def text_shapes():
    yield "positional_embedding", (CONTEXT, TEXT)
    yield "text_projection", (TEXT, EMBED)
    yield "token_embedding.weight", (VOCABULARY, TEXT)
    for i in range(LAYERS):
        yield from block_shapes(f"transformer.resblocks.{i}.", TEXT)
    yield "ln_final.weight", (TEXT,)
    yield "ln_final.bias", (TEXT,)


def single(values):
    return torch.from_numpy(values.astype(np.float32).astype(np.float64))


def weights(shapes):
    """Element i of tensor t is a sin(0.7 i (1 + 0.01 t) + t): a is 1.5 / sqrt(inputs) of a matrix or filter (8 times that of one that
    reads an image), else 0.3; that of a norm's weight and of a variance 1 more."""
    result = {}
    for t, (name, shape) in enumerate(shapes):
        i = np.arange(int(np.prod(shape)), dtype=np.float64)
        a = 1.5 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.3
        a *= 8 if len(shape) == 4 and shape[1] == 3 else 1
        one = name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1)
        result[name] = single(a * np.sin(0.7 * i * (1 + 0.01 * t) + t) + one).reshape(shape)
    return result


def images(size):
    i = np.arange(2 * 3 * size * size, dtype=np.float64)
    return single(np.sin(0.013 * i * i + 0.5 * i)).reshape(2, 3, size, size)


def ids():
    rows = torch.zeros(3, CONTEXT, dtype=torch.long)
    for n, length in enumerate((4, CONTEXT, 7)):
        rows[n, 0] = VOCABULARY - 2
        for t in range(1, length - 1):
            rows[n, t] = (37 * t + 11 * n) % (VOCABULARY - 2)
        rows[n, length - 1] = VOCABULARY - 1
    return rows


def block(p, name, x, mask):
    """x [T, N, width]."""
    width = x.shape[-1]
    norm = lambda y, n: F.layer_norm(y, (width,), p[f"{name}{n}.weight"], p[f"{name}{n}.bias"], 1e-5)
    attention = torch.nn.MultiheadAttention(width, width // 64).double()
    attention.load_state_dict({k: p[f"{name}attn.{k}"] for k in attention.state_dict()})
    y = norm(x, "ln_1")
    x = x + attention(y, y, y, need_weights=False, attn_mask=mask)[0]
    y = F.linear(norm(x, "ln_2"), p[name + "mlp.c_fc.weight"], p[name + "mlp.c_fc.bias"])
    return x + F.linear(act(y), p[name + "mlp.c_proj.weight"], p[name + "mlp.c_proj.bias"])


def act(y):
    return y * torch.sigmoid(1.702 * y)


def vit(p, x):
    x = F.conv2d(x, p["visual.conv1.weight"], stride=PATCH).flatten(2).permute(0, 2, 1)
    x = torch.cat([p["visual.class_embedding"].expand(len(x), 1, WIDTH), x], 1) + p["visual.positional_embedding"]
    x = F.layer_norm(x, (WIDTH,), p["visual.ln_pre.weight"], p["visual.ln_pre.bias"], 1e-5).permute(1, 0, 2)
    for i in range(LAYERS):
        x = block(p, f"visual.transformer.resblocks.{i}.", x, None)
    x = F.layer_norm(x[0], (WIDTH,), p["visual.ln_post.weight"], p["visual.ln_post.bias"], 1e-5)
    return x @ p["visual.proj"]


def resnet(p, x):
    def bn(y, n):
        return F.batch_norm(y, p[n + ".running_mean"], p[n + ".running_var"], p[n + ".weight"], p[n + ".bias"], False, 0, 1e-5)

    for i in range(3):
        x = F.relu(bn(F.conv2d(x, p[f"visual.conv{i + 1}.weight"], stride=2 if i == 0 else 1, padding=1), f"visual.bn{i + 1}"))
    x = F.avg_pool2d(x, 2)
    for stage, count in enumerate(RESNET):
        for j in range(count):
            n = f"visual.layer{stage + 1}.{j}."
            stride = 2 if stage > 0 and j == 0 else 1
            y = F.relu(bn(F.conv2d(x, p[n + "conv1.weight"]), n + "bn1"))
            y = F.relu(bn(F.conv2d(y, p[n + "conv2.weight"], padding=1), n + "bn2"))
            y = F.avg_pool2d(y, stride) if stride > 1 else y
            y = bn(F.conv2d(y, p[n + "conv3.weight"]), n + "bn3")
            if n + "downsample.0.weight" in p:
                x = F.avg_pool2d(x, stride) if stride > 1 else x
                x = bn(F.conv2d(x, p[n + "downsample.0.weight"]), n + "downsample.1")
            x = F.relu(x + y)
    a = "visual.attnpool."
    x = x.flatten(2).permute(2, 0, 1)
    x = torch.cat([x.mean(0, keepdim=True), x], 0) + p[a + "positional_embedding"][:, None, :]
    channels = x.shape[-1]
    x, _ = F.multi_head_attention_forward(
        x[:1], x, x, channels, channels // 64, None, torch.cat([p[a + f"{w}_proj.bias"] for w in "qkv"]), None, None, False, 0,
        p[a + "c_proj.weight"], p[a + "c_proj.bias"], training=False, need_weights=False, use_separate_proj_weight=True,
        q_proj_weight=p[a + "q_proj.weight"], k_proj_weight=p[a + "k_proj.weight"], v_proj_weight=p[a + "v_proj.weight"])
    return x[0]


def text(p, words):
    x = (p["token_embedding.weight"][words] + p["positional_embedding"]).permute(1, 0, 2)
    mask = torch.full((CONTEXT, CONTEXT), float("-inf")).double().triu(1)
    for i in range(LAYERS):
        x = block(p, f"transformer.resblocks.{i}.", x, mask)
    x = F.layer_norm(x.permute(1, 0, 2), (TEXT,), p["ln_final.weight"], p["ln_final.bias"], 1e-5)
    return x[torch.arange(len(words)), words.argmax(-1)] @ p["text_projection"]


def numbers(t):
    return [float(f"{x:.7g}") for x in t.detach().numpy().ravel()]


if __name__ == "__main__":
    pv, pr, pt = weights(vit_shapes()), weights(resnet_shapes()), weights(text_shapes())
    with torch.no_grad():
        fv, fr, ft = vit(pv, images(IMAGE)), resnet(pr, images(RESNET_IMAGE)), text(pt, ids())
        unit = lambda f: f / f.norm(dim=-1, keepdim=True)
        logits = np.exp(SCALE) * unit(fv) @ unit(ft).t()
        act = F.gelu
        erf = vit(pv, images(IMAGE))
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps({
        "scale": SCALE, "ids": ids().tolist(), "vit": {n: list(s) for n, s in vit_shapes()},
        "resnet": {n: list(s) for n, s in resnet_shapes()}, "text": {n: list(s) for n, s in text_shapes()},
        "vitFeatures": numbers(fv), "resnetFeatures": numbers(fr), "textFeatures": numbers(ft), "geluFeatures": numbers(erf),
        "logits": numbers(logits), "probabilities": numbers(logits.softmax(-1))}) + "\n")
    print(fv.abs().mean(), fr.abs().mean(), ft.abs().mean(), logits)
