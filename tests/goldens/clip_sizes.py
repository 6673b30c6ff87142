#!/usr/bin/env python3
"""CLIP at its real sizes against PyTorch: ViT-B/32 and RN50 with random weights in a file of OpenAI's names, a picture and two sentences.
PyTorch computes in double precision by the functions of make_clip.py, and Pillow prepares the picture; then the command line does both.

    /usr/bin/python3 tests/goldens/clip_sizes.py src/Espalier.Cli/bin/Release/net10.0/espalier.dll

Prints, for each, the largest difference as a share of the largest feature, and that of the probabilities of the sentences. It fails
above 1e-4.
"""
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import make_clip

BAR = 1e-4
MEAN, STD = (.48145466, .4578275, .40821073), (.26862954, .26130258, .27577711)
TEXTS = ["a diagram of 7 cats", "a dog"]


def vocabulary(path):
    """As many merges as the published file has: pairs of symbols of bytes."""
    symbols = [chr(c) for c in (*range(33, 127), *range(161, 173), *range(174, 256))]
    merges = [f"{a} {b}{end}" for end in ("</w>", "") for a in symbols for b in symbols]
    merges += [f"{a}{b} {c}" for a in symbols[64:90] for b in symbols for c in symbols]
    path.write_text("\n".join(["#version", *merges[:48894]]) + "\n", encoding="utf-8")


def random_weights(shapes, seed):
    """Sized so that features neither vanish nor grow; statistics and scales around 1."""
    g, result = torch.Generator().manual_seed(seed), {}
    for name, shape in shapes:
        fan = math.prod(shape[1:]) if len(shape) > 1 else 1
        std = 0.02 if "embedding" in name else fan ** -0.5 if len(shape) > 1 else 0.1
        one = name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1)
        values = torch.randn(shape, generator=g) * std + (1 if one else 0)
        result[name] = (values.abs() + 0.1 if name.endswith("running_var") else values).half().float()
    return result


def prepared(picture, size):
    short, long = sorted(picture.size)
    wide = picture.size[0] >= picture.size[1]
    to = (int(size * long / short), size) if wide else (size, int(size * long / short))
    resized = picture.resize(to, Image.BICUBIC)
    left, top = round((to[0] - size) / 2), round((to[1] - size) / 2)
    x = np.asarray(resized.crop((left, top, left + size, top + size)), dtype=np.float64) / 255
    return torch.from_numpy((x - np.array(MEAN)) / np.array(STD)).permute(2, 0, 1)[None]


def espalier(*arguments):
    out = subprocess.run(["dotnet", sys.argv[1], *map(str, arguments)], check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def share(expected, actual):
    expected, actual = np.array(expected), np.array(actual)
    return float(np.abs(expected - actual).max() / np.abs(expected).max())


def run(name, folder, picture, words):
    vit = name == "ViT-B/32"
    m = make_clip
    m.EMBED, m.IMAGE, m.PATCH, m.WIDTH, m.LAYERS = (512 if vit else 1024), 224, 32, 768, 12
    m.RESNET, m.RESNET_IMAGE, m.PLANES = (3, 4, 6, 3), 224, 64
    m.CONTEXT, m.VOCABULARY, m.TEXT = 77, 49408, 512
    image = random_weights(m.vit_shapes() if vit else m.resnet_shapes(), 1)
    text = random_weights(m.text_shapes(), 2)
    checkpoint = folder / "clip.pt"
    torch.save({**{n: t.half() for n, t in {**image, **text}.items()}, "logit_scale": torch.tensor(math.log(100.0))}, checkpoint)
    x = prepared(picture, 224)
    rows = torch.zeros(len(TEXTS), 77, dtype=torch.long)
    for i, ids in enumerate(words):
        row = [49406, *ids, 49407]
        rows[i, :len(row)] = torch.tensor(row)
    with torch.no_grad():
        f = (m.vit if vit else m.resnet)({n: t.double() for n, t in image.items()}, x)
        t = m.text({n: w.double() for n, w in text.items()}, rows)
        unit = lambda v: v / v.norm(dim=-1, keepdim=True)
        probabilities = (100 * unit(f) @ unit(t).t()).softmax(-1)[0]
    common = ["--model", checkpoint, "--vocab", folder / "vocabulary.txt"]
    seen = espalier("embed", folder / "picture.png", *common)[0]["embedding"]
    read = [line["embedding"] for line in espalier("embed", *common, "--text", *TEXTS)]
    said = espalier("clip", "classify", folder / "picture.png", *common, "--text", *TEXTS, "--json")[0]["probabilities"]
    figures = share(f[0].tolist(), seen), share(t.tolist(), read), float(np.abs(np.array(said) - probabilities.numpy()).max())
    print(f"{name}: image features {figures[0]:.1e}, text features {figures[1]:.1e}, probabilities {figures[2]:.1e} "
          f"({', '.join(f'{p:.4f}' for p in probabilities.tolist())})", flush=True)
    return max(figures) <= BAR


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        vocabulary(folder / "vocabulary.txt")
        y, x = np.mgrid[:480, :640]
        pixels = np.stack([127 + 120 * np.sin(x / 37 + c) * np.cos(y / 23 - c) for c in range(3)], -1)
        picture = Image.fromarray(pixels.astype(np.uint8))
        picture.save(folder / "picture.png")
        words = [line["ids"] for line in espalier("clip", "tokenize", "--vocab", folder / "vocabulary.txt", "--text", *TEXTS, "--json")]
        sys.exit(0 if all([run(name, folder, picture, words) for name in ("ViT-B/32", "RN50")]) else 1)
