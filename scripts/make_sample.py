#!/usr/bin/env python3
"""Make the embedded sample of Fashion-MNIST: the first 200 training and first 100 test images of each class.

Source: Debian's package dataset-fashion-mnist. The images keep their order of the full set, so classes are mixed.
The gzip streams carry no name and no time: the same input gives the same bytes.

    scripts/make_sample.py [SOURCE_DIR] [OUTPUT_DIR]
"""
import gzip
import io
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path(sys.argv[1] if len(sys.argv) > 1 else "/usr/share/datasets/fashion-mnist")
OUTPUT = Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "src/Espalier/Data/Sample"


def read(name):
    with gzip.open(SOURCE / f"{name}.gz") as f:
        return f.read()


def write(name, data):
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as f:
        f.write(data)
    (OUTPUT / f"{name}.gz").write_bytes(buffer.getvalue())


for split, per_class in (("train", 200), ("t10k", 100)):
    images, labels = read(f"{split}-images-idx3-ubyte"), read(f"{split}-labels-idx1-ubyte")
    labels = labels[8:]
    taken, chosen = [0] * 10, []
    for i, label in enumerate(labels):
        if taken[label] < per_class:
            taken[label] += 1
            chosen.append(i)
    pixels = b"".join(images[16 + 784 * i:16 + 784 * (i + 1)] for i in chosen)
    write(f"{split}-images-idx3-ubyte", struct.pack(">IIII", 0x803, len(chosen), 28, 28) + pixels)
    write(f"{split}-labels-idx1-ubyte", struct.pack(">II", 0x801, len(chosen)) + bytes(labels[i] for i in chosen))
    print(split, len(chosen))
