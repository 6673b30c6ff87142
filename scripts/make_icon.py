#!/usr/bin/env python3
"""Draw the icon of the packages: a tree whose arms are tied to the wires of a frame. Needs Pillow (Debian: python3-pil).

    scripts/make_icon.py [OUTPUT.png]
"""
import sys
from pathlib import Path

from PIL import Image, ImageDraw

SIZE, SCALE = 128, 8       # drawn large and reduced, for smooth edges
WOOD, WIRE, LEAF, SOIL = "#6b4a2b", "#b9c2c9", "#3f8f4f", "#f4f1ea"

output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "docs/images/icon.png"
image = Image.new("RGBA", (SIZE * SCALE, SIZE * SCALE), (0, 0, 0, 0))
draw = ImageDraw.Draw(image)


def at(*values):
    return [v * SCALE for v in values]


draw.rounded_rectangle(at(2, 2, 126, 126), radius=22 * SCALE, fill=SOIL)
for y in (34, 60, 86):
    draw.line(at(12, y, 116, y), fill=WIRE, width=2 * SCALE)
draw.line(at(64, 114, 64, 26), fill=WOOD, width=7 * SCALE)
for y, reach in ((34, 34), (60, 42), (86, 46)):
    draw.line(at(64 - reach, y, 64 + reach, y), fill=WOOD, width=5 * SCALE)
    for side in (-1, 1):
        for step in (12, 24, 36, 46):
            if step > reach + 1:
                continue                                    # pruned
            x = 64 + side * step
            draw.ellipse(at(x - 6, y - 13, x + 6, y - 1), fill=LEAF)
draw.ellipse(at(57, 14, 71, 28), fill=LEAF)
image.resize((SIZE, SIZE), Image.LANCZOS).quantize(64, method=Image.Quantize.FASTOCTREE).save(output, optimize=True)
