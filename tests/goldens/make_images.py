#!/usr/bin/env python3
"""Golden pictures for the Imaging and Data tests, from PIL: small PNG and JPEG files, and what PIL makes of them.

    tests/goldens/make_images.py [OUTPUT_DIR]

Every golden is a PNG, read back by the tests with the project's own reader. `gray-in.png` and `rgb-in.png` are the inputs.
"""
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

OUTPUT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/Images"
OUTPUT.mkdir(parents=True, exist_ok=True)
BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


def picture(width, height, channels, seed):
    """Smooth waves with hard edges and noise, so that both over- and undershoot happen."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for c in range(channels):
        plane = 127 + 90 * np.sin(x * (0.3 + 0.1 * c)) * np.cos(y * (0.2 + 0.07 * c)) + rng.normal(0, 12, (height, width))
        plane[height // 3:height // 2, width // 4:width // 2] = 255 * (c % 2)
        planes.append(plane)
    return np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8)


def save(name, image):
    image.save(OUTPUT / f"{name}.png", optimize=True)


gray = Image.fromarray(picture(28, 28, 1, 1)[..., 0], "L")
rgb = Image.fromarray(picture(45, 32, 3, 2), "RGB")
save("gray-in", gray)
save("rgb-in", rgb)
save("rgb-to-gray", rgb.convert("L"))

# name: (source, size (w, h), filter, box to crop first)
for name, (source, size, kind, box) in {
    "gray-up": (gray, (64, 64), BILINEAR, None),
    "gray-up-cubic": (gray, (61, 47), BICUBIC, None),
    "gray-down": (gray, (11, 9), BILINEAR, None),
    "gray-width-only": (gray, (40, 28), BILINEAR, None),
    "gray-height-only": (gray, (28, 13), BICUBIC, None),
    "rgb-up": (rgb, (96, 80), BILINEAR, None),
    "rgb-up-cubic": (rgb, (96, 80), BICUBIC, None),
    "rgb-down": (rgb, (16, 16), BILINEAR, None),
    "rgb-down-cubic": (rgb, (17, 7), BICUBIC, None),
    "rgb-box": (rgb, (32, 32), BILINEAR, (5, 3, 5 + 13, 3 + 21)),
    "rgb-box-same-width": (rgb, (20, 32), BICUBIC, (9, 4, 9 + 20, 4 + 9)),
    "rgb-box-copy": (rgb, (20, 10), BILINEAR, (25, 22, 45, 32)),
}.items():
    save("resize-" + name, (source.crop(box) if box else source).resize(size, kind))

# Files of each kind that users have, with the pixels that PIL reads from them.
small = Image.fromarray(picture(37, 23, 3, 3), "RGB")
alpha = np.concatenate([picture(19, 11, 3, 4), picture(19, 11, 1, 5)], -1)
files = {
    "color.jpg": (small, dict(quality=90, subsampling=2)),
    "color-444-progressive.jpg": (small, dict(quality=80, subsampling=0, progressive=True)),
    "gray.jpg": (small.convert("L"), dict(quality=85)),
    "cmyk.jpg": (small.convert("CMYK"), dict(quality=85)),
    "palette.png": (small.quantize(17), {}),
    "one-bit.png": (small.convert("1"), {}),
    "alpha.png": (Image.fromarray(alpha, "RGBA"), {}),
    "gray-alpha.png": (Image.fromarray(alpha[..., 2:], "LA"), {}),
}
for name, (image, options) in files.items():
    image.save(OUTPUT / name, **options)
    if name != "cmyk.jpg":
        read = Image.open(OUTPUT / name)
        save("read-" + name.replace(".", "-"), read.convert("L" if read.mode in ("L", "LA", "1") else "RGB"))

# A gamma chunk must not change the samples.
info = PngInfo()
info.add(b"gAMA", (100000).to_bytes(4, "big"))
info.add_text("Comment", "x" * 100, zip=True)
small.save(OUTPUT / "gamma.png", pnginfo=info)
save("read-gamma-png", small)
total = sum(f.stat().st_size for f in OUTPUT.iterdir())
print(len(list(OUTPUT.iterdir())), "files,", total, "bytes")
