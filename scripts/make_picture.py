#!/usr/bin/env python3
"""Make the picture at the top of the README: what the agents of a trained model leave of a few images.

Runs `espalier predict` on examples/images and puts the strips that it draws together, two a row. Needs Pillow
(Debian: python3-pil) and the .NET SDK.

    scripts/make_picture.py MODEL [OUTPUT.png]
"""
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
COLUMNS = 2
GAP = 8           # as between the panels of a strip
COLUMN_GAP = 32

if len(sys.argv) < 2:
    sys.exit(__doc__)
model = Path(sys.argv[1]).resolve()
output = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs/images/pruned-tokens.png"
images = sorted((ROOT / "examples/images").glob("*.png"))

with tempfile.TemporaryDirectory() as folder:
    command = ["dotnet", "run", "-c", "Release", "--project", ROOT / "src/Espalier.Cli", "--", "predict", *images]
    subprocess.run([*command, "--model", model, "--output-dir", folder], check=True, stdout=subprocess.DEVNULL)
    strips = [Image.open(Path(folder) / f"{image.stem}.tokens.png").convert("RGB") for image in images]
    width, height = strips[0].size
    rows = -(-len(strips) // COLUMNS)
    picture = Image.new("RGB", (COLUMNS * (width + COLUMN_GAP) - COLUMN_GAP, rows * (height + GAP) - GAP), "white")
    for i, strip in enumerate(strips):
        picture.paste(strip, (i % COLUMNS * (width + COLUMN_GAP), i // COLUMNS * (height + GAP)))
    output.parent.mkdir(parents=True, exist_ok=True)
    picture.save(output, optimize=True)
print(f"{output}: {picture.width} x {picture.height}, {output.stat().st_size} bytes")
