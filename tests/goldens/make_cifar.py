#!/usr/bin/env python3
"""Golden batches for the CIFAR tests: two pictures and labels, pickled as Python 2 and as Python 3 do.

    tests/goldens/make_cifar.py [OUTPUT_DIR]

The published archives were pickled by Python 2, whose str opcodes Python 3 cannot write: that file is put together here
from the opcodes (see CPython's pickletools) and read back to check it.
"""
import pickle
import struct
import sys
from pathlib import Path

import numpy as np

OUTPUT = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/Cifar"
OUTPUT.mkdir(parents=True, exist_ok=True)

i, n = np.arange(3072), np.arange(2)[:, None]
data = ((7 * i + 11 * n) % 251).astype(np.uint8)
labels = [7, 4]


def text(s):
    return b"U" + bytes([len(s)]) + s.encode()


def number(x):
    return b"K" + bytes([x]) if 0 <= x < 256 else b"J" + struct.pack("<i", x) if x < 0 else b"M" + struct.pack("<H", x)


dtype = (b"cnumpy\ndtype\n" + text("u1") + number(0) + number(1) + b"\x87R"
         + b"(" + number(3) + text("|") + b"NNN" + number(-1) + number(-1) + number(0) + b"tb")
array = (b"cnumpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\n" + number(0) + b"\x85" + text("b") + b"\x87R"
         + b"(" + number(1) + number(2) + number(3072) + b"\x86" + dtype + b"\x89"
         + b"T" + struct.pack("<i", data.size) + data.tobytes() + b"tb")
batch = (b"\x80\x02}q\x01(" + text("batch_label") + text("testing batch 1 of 1") + text("data") + array
         + text("labels") + b"]q\x02(" + b"".join(number(x) for x in labels) + b"e"
         + text("filenames") + b"]q\x03(" + text("a.png") + text("b.png") + b"eu.")
back = pickle.loads(batch, encoding="bytes")
assert (back[b"data"] == data).all() and back[b"labels"] == labels
(OUTPUT / "python2.pickle").write_bytes(batch)
(OUTPUT / "python3.pickle").write_bytes(
    pickle.dumps({"data": data, "fine_labels": labels, "coarse_labels": [1, 2]}, protocol=4))
