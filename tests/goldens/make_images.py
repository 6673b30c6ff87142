#!/usr/bin/env python3
"""Golden pictures for the Imaging and Data tests, from PIL: small files of all kinds, and what PIL makes of them.

    tests/goldens/make_images.py [OUTPUT_DIR]

Every golden is a PNG, read back by the tests with the project's own reader. `gray-in.png` and `rgb-in.png` are the inputs.
"""
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
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

# Changes of colours and shape, of a picture that has neither black nor white.
dull = rgb.point(lambda x: 30 + x * 3 // 5)
save("adjust-in", dull)
save("adjust-gray-in", gray)
AFFINE, TURNED = Image.Transform.AFFINE, {"resample": BILINEAR, "fillcolor": (128, 128, 128)}
for name, image in {
    "auto-contrast": ImageOps.autocontrast(dull),
    "equalize": ImageOps.equalize(dull),
    "invert": ImageOps.invert(dull),
    "posterize": ImageOps.posterize(dull, 3),
    "solarize": ImageOps.solarize(dull, 100),
    "add": dull.point(lambda x: min(255, x + 99) if x < 128 else x),
    "brightness-up": ImageEnhance.Brightness(dull).enhance(1.7),
    "brightness-down": ImageEnhance.Brightness(dull).enhance(0.35),
    "contrast-up": ImageEnhance.Contrast(dull).enhance(1.9),
    "contrast-down": ImageEnhance.Contrast(dull).enhance(0.19),
    "color-up": ImageEnhance.Color(dull).enhance(1.81),
    "color-down": ImageEnhance.Color(dull).enhance(0.25),
    "sharpness-up": ImageEnhance.Sharpness(dull).enhance(1.6),
    "sharpness-down": ImageEnhance.Sharpness(dull).enhance(0.1),
    "rotate": dull.rotate(27.3, **TURNED),
    "rotate-back": dull.rotate(-11, **TURNED),
    "shear-x": dull.transform(dull.size, AFFINE, (1, 0.27, 0, 0, 1, 0), **TURNED),
    "shear-y": dull.transform(dull.size, AFFINE, (1, 0, 0, -0.2, 1, 0), **TURNED),
    "shift": dull.transform(dull.size, AFFINE, (1, 0, 7.4, 0, 1, -3.25), **TURNED),
    "gray-equalize": ImageOps.equalize(gray),
    "gray-contrast": ImageEnhance.Contrast(gray).enhance(1.5),
    "gray-sharpness": ImageEnhance.Sharpness(gray).enhance(0.4),
    "gray-rotate": gray.rotate(33, resample=BILINEAR, fillcolor=128),
}.items():
    save("adjust-" + name, image)

ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples, bits, kind, interlaced=False, more=b""):
    """A PNG of samples [height, width, n] that PIL cannot write: 16 bits, interlaced, with a transparent colour."""
    def rows(part):
        lines = []
        for row in part:
            spread = np.unpackbits(row.astype(">u2").reshape(-1).view(np.uint8)).reshape(-1, 16)[:, 16 - bits:]
            lines.append(b"\0" + np.packbits(spread.reshape(-1)).tobytes())
        return b"".join(lines)

    passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
    data = b"".join(rows(samples[y::down, x::across]) for x, y, across, down in passes)
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], bits, kind, 0, 0, interlaced)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b""))


def read(name):
    """What PIL makes of a file. Of 16 bits, grey, it keeps all, and clips what does not fit into 8: we keep the high byte."""
    image = Image.open(OUTPUT / name)
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8), "L")
    gray = image.mode in ("L", "LA", "1") or name.startswith("gray-")
    return ImageOps.exif_transpose(image).convert("L" if gray else "RGB")


# Files of each kind that users have, with the pixels that PIL reads from them.
small = Image.fromarray(picture(37, 23, 3, 3), "RGB")
alpha = np.concatenate([picture(19, 11, 3, 4), picture(19, 11, 1, 5)], -1)
alpha[4:7, 5:12, 3] = 0
rgba = Image.fromarray(alpha, "RGBA")
deep = np.random.default_rng(6).integers(0, 65536, (11, 19, 4))
palette = chunk(b"PLTE", picture(16, 1, 3, 7).tobytes())
files = {
    "color.jpg": (small, dict(quality=90, subsampling=2)),
    "color-422.jpg": (small, dict(quality=95, subsampling=1)),
    "color-444-progressive.jpg": (small, dict(quality=80, subsampling=0, progressive=True)),
    "gray.jpg": (small.convert("L"), dict(quality=85)),
    "cmyk.jpg": (small.convert("CMYK"), dict(quality=85)),
    "palette.png": (small.quantize(17), {}),
    "one-bit.png": (small.convert("1"), {}),
    "alpha.png": (rgba, {}),
    "gray-alpha.png": (Image.fromarray(alpha[..., 2:], "LA"), {}),
    "gray16.png": png(deep[..., :1], 16, 0),
    "gray-alpha16.png": png(deep[..., :2], 16, 4),
    "color16.png": png(deep[..., :3], 16, 2),
    "alpha16-interlaced.png": png(deep, 16, 6, True),
    "gray-two-bits-interlaced.png": png(deep[..., :1] & 3, 2, 0, True),
    "gray-transparent.png": png(deep[..., :1] & 255, 8, 0, False, chunk(b"tRNS", struct.pack(">H", deep[0, 0, 0] & 255))),
    "palette-transparent.png": png(deep[..., :1] & 15, 4, 3, False, palette + chunk(b"tRNS", bytes(range(0, 160, 16)))),
    "palette-interlaced.png": png(deep[..., :1] & 15, 4, 3, True, palette),
    "color.bmp": (small, {}),
    "palette.bmp": (small.quantize(17), {}),
    "color.gif": (small.quantize(40), {}),
    "interlaced.gif": (small.quantize(40), dict(interlace=1)),
    "transparent.gif": (small.quantize(40), dict(transparency=5)),
    "moving.gif": (small.quantize(9), dict(save_all=True, append_images=[small.rotate(180).quantize(9)], duration=50)),
    "lossy.webp": (small, dict(quality=80)),
    "alpha.webp": (rgba, dict(lossless=True, exact=True)),
    "moving.webp": (small, dict(save_all=True, append_images=[small.rotate(180)], quality=50)),
}
for origin in range(2, 9):
    exif = Image.Exif()
    exif[0x0112] = origin
    files[f"exif{origin}.jpg"] = (rgba.convert("RGB"), dict(quality=80, exif=exif))
    if origin == 6:
        files["exif6-gray.jpg"] = (rgba.convert("L"), dict(quality=80, exif=exif))
        files["exif6.png"] = (rgba.convert("RGB"), dict(exif=exif))
        files["exif6.webp"] = (rgba.convert("RGB"), dict(lossless=True, exif=exif))
for name, made in files.items():
    if isinstance(made, bytes):
        (OUTPUT / name).write_bytes(made)
    else:
        made[0].save(OUTPUT / name, **made[1])
    save("read-" + name.replace(".", "-"), read(name))

# The same samples, called YCCK instead of CMYK.
data = (OUTPUT / "cmyk.jpg").read_bytes()
(OUTPUT / "ycck.jpg").write_bytes(data.replace(b"Adobe\0d\0\0\0\0\0", b"Adobe\0d\0\0\0\0\2"))
save("read-ycck-jpg", read("ycck.jpg"))

# Large pictures come reduced; here the limit is what is small.
for factor in (2, 4, 8):
    save(f"reduce-rgb-{factor}", rgb.reduce(factor))
small.save(OUTPUT / "other.tiff")

# A gamma chunk must not change the samples.
info = PngInfo()
info.add(b"gAMA", (100000).to_bytes(4, "big"))
info.add_text("Comment", "x" * 100, zip=True)
small.save(OUTPUT / "gamma.png", pnginfo=info)
save("read-gamma-png", small)
total = sum(f.stat().st_size for f in OUTPUT.iterdir())
print(len(list(OUTPUT.iterdir())), "files,", total, "bytes")
