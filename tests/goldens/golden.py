"""Writes golden cases as a safetensors file: <case>/in/<name>, <case>/out/y, <case>/grad/y and <case>/grad/<name>."""
import json
import struct
import zlib

import torch


class Golden:
    """Cases of one area. Every draw has a generator seeded with its key, so that a new case changes no other."""

    def __init__(self):
        self.arrays = {}

    def rand(self, key, *shape, scale=1.0, low=None):
        """Standard normal times scale, or uniform in [low, low + scale)."""
        g = torch.Generator().manual_seed(zlib.crc32(key.encode()))
        draw = torch.randn if low is None else torch.rand
        return draw(shape, generator=g) * scale + (low or 0)

    def case(self, name, fn, constants=(), **inputs):
        """Runs fn(**inputs) in double precision; records inputs, output, a random dL/dy and the inputs' gradients."""
        doubles = {k: v.double().requires_grad_(k not in constants) for k, v in inputs.items()}
        y = fn(**doubles)
        self._put(f"{name}/out/y", y)
        for k, v in inputs.items():
            self._put(f"{name}/in/{k}", v)
        if y.requires_grad:
            dy = self.rand(name + "/dy", *y.shape)
            self._put(f"{name}/grad/y", dy)
            (y * dy.double()).sum().backward()
            for k, v in doubles.items():
                if k not in constants:
                    self._put(f"{name}/grad/{k}", v.grad if v.grad is not None else torch.zeros_like(v))

    def _put(self, key, value):
        assert key not in self.arrays, key
        self.arrays[key] = value.detach().numpy().astype("<f4", order="C")

    def save(self, path):
        header, offset = {}, 0
        for key, value in self.arrays.items():
            end = offset + value.nbytes
            header[key] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [offset, end]}
            offset = end
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        with open(path, "wb") as f:
            f.write(struct.pack("<Q", len(text)) + text)
            for value in self.arrays.values():
                f.write(value.tobytes())
