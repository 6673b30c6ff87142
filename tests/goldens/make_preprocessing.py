#!/usr/bin/env python3
"""Golden values for the Preprocessing tests: what torchvision's transforms make of a picture, from PIL and numpy.

    tests/goldens/make_preprocessing.py [OUTPUT.json]

The pictures have a formula, see `picture`, so that none has to be stored. Of each result there are the checksum of its float32
values [C, S, S] and some of the values. torchvision itself is not needed: Resize and CenterCrop are written out below.
"""
import json
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

OUTPUT = Path(sys.argv[1]) if len(sys.argv) > 1 else \
    Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/Preprocessing/expected.json"
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CLIP = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
HALF = [0.5], [0.5]


def picture(width, height, channels):
    """Waves, edges where the numbers overflow, and no two channels alike."""
    y, x, c = np.mgrid[0:height, 0:width, 0:channels]
    values = ((x * x * (c + 1) + 3 * y * y + 7 * x * y) // 64 + 40 * c) % 256
    return Image.fromarray(values.astype(np.uint8) if channels == 3 else values[..., 0].astype(np.uint8))


def resize(image, size, fit, kind):
    """torchvision.transforms.functional.resize of a PIL picture, with a number (shorter side) or a pair (square)."""
    w, h = image.size
    if fit == "square":
        new = size, size
    else:
        short, long = (w, h) if w <= h else (h, w)
        new_short, new_long = size, int(size * long / short)
        new = (new_short, new_long) if w <= h else (new_long, new_short)
    return image if new == (w, h) else image.resize(new, kind)


def center_crop(image, size):
    """torchvision.transforms.functional.center_crop of a PIL picture."""
    w, h = image.size
    if size > w or size > h:
        left, top = (size - w) // 2 if size > w else 0, (size - h) // 2 if size > h else 0
        right, bottom = (size - w + 1) // 2 if size > w else 0, (size - h + 1) // 2 if size > h else 0
        padded = Image.new(image.mode, (w + left + right, h + top + bottom))
        padded.paste(image, (left, top))
        image, (w, h) = padded, padded.size
        if (w, h) == (size, size):
            return image
    top, left = int(round((h - size) / 2.0)), int(round((w - size) / 2.0))
    return image.crop((left, top, left + size, top + size))


def run(image, p):
    image = image.convert("L" if p["colors"] == "grey" else "RGB")
    image = resize(image, p["resize"], p["fit"], FILTERS[p["filter"]])
    if "crop" in p:
        image = center_crop(image, p["crop"])
    x = np.asarray(image)
    x = x[None] if x.ndim == 2 else x.transpose(2, 0, 1)
    if p["colors"] == "bgr":
        x = x[::-1]
    mean, std = (np.array(p[k], np.float32)[:, None, None] for k in ("mean", "std"))
    y = (x.astype(np.float32) / np.float32(p["divisor"]) - mean) / std
    t = torch.from_numpy(x.copy()).float().div(p["divisor"]).sub_(torch.from_numpy(mean)).div_(torch.from_numpy(std))
    assert y.dtype == np.float32 and np.array_equal(y, t.numpy())          # as ToTensor and Normalize compute it
    return np.ascontiguousarray(y)


def shortest(x):
    return float(str(np.float32(x)))


def preset(name, size, channels):
    mean, std = {"imagenet": IMAGENET, "deit": IMAGENET, "clip": CLIP, "half": HALF}[name]
    if channels == 1:
        mean, std = ([shortest(np.array(v, np.float32).astype(np.float64).mean())] for v in (mean, std))
    p = dict(resize=size if name in ("half", "clip") else int((256 / 224) * size), fit="square" if name == "half" else "shorterSide",
             filter="bilinear" if name in ("imagenet", "half") else "bicubic", colors="grey" if channels == 1 else "rgb",
             divisor=255, mean=[shortest(m) for m in mean], std=[shortest(s) for s in std])
    return p if name == "half" else p | dict(crop=size)


def custom(**changes):
    return preset("imagenet", 224, 3) | changes


CASES = []
for w, h, c in [(500, 375, 3), (375, 500, 3), (301, 227, 3), (40, 30, 3), (77, 100, 1), (1, 9, 3)]:
    for name in ("imagenet", "deit", "half", "clip"):
        CASES.append(((w, h, c), name, 224, 3, preset(name, 224, 3)))
CASES += [((500, 375, 3), name, 224, 1, preset(name, 224, 1)) for name in ("imagenet", "clip", "half")]
CASES += [((256, 256, 3), "imagenet", 224, 3, preset("imagenet", 224, 3)), ((341, 256, 3), "imagenet", 224, 3, preset("imagenet", 224, 3)),
          ((536, 400, 3), "imagenet", 224, 3, preset("imagenet", 224, 3)), ((224, 224, 3), "half", 224, 3, preset("half", 224, 3)),
          ((500, 375, 3), "deit", 384, 3, preset("deit", 384, 3)), ((500, 375, 3), "imagenet", 96, 3, preset("imagenet", 96, 3))]
CASES += [(picture_size, None, 0, 0, p) for picture_size, p in [
    ((300, 100, 3), custom(resize=201)),                                   # a border above and below, the lower one larger
    ((100, 300, 3), custom(resize=201, filter="bicubic")),
    ((90, 70, 3), custom(resize=90)),                                      # a border all around
    ((30, 25, 1), custom(resize=20, crop=33, colors="grey", mean=[0.1], std=[0.3])),
    ((500, 375, 3), custom(resize=240, fit="square", crop=200, filter="bicubic")),
    ((500, 375, 3), custom(resize=225)),                                   # an offset of a half, rounded to even
    ((500, 375, 3), custom(colors="bgr", divisor=1, mean=[103.939, 116.779, 123.68], std=[1])),
    ((375, 500, 3), custom(divisor=127.5, mean=[1], std=[1])),
]]

expected = []
for size, name, input_size, channels, p in CASES:
    y = run(picture(*size), p)
    at = [int(i) for i in np.linspace(0, y.size - 1, 9)]
    expected.append(dict(picture=size, preset=name, size=input_size, channels=channels, preprocessing=p, shape=y.shape,
                         crc=zlib.crc32(y.astype("<f4").tobytes()), at=at, values=[shortest(y.ravel()[i]) for i in at]))
OUTPUT.parent.mkdir(parents=True, exist_ok=True)
OUTPUT.write_text("[\n" + ",\n".join(json.dumps(e, separators=(",", ":")) for e in expected) + "\n]\n")
print(len(expected), "cases,", OUTPUT.stat().st_size, "bytes")
