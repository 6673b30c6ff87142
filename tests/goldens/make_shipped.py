"""Logits of models/apt-fashion-mnist.safetensors on a made-up image, by PyTorch in double precision: run it and copy what it prints
into tests/Espalier.Tests/Files/ModelTests.cs."""
import json
import struct
from pathlib import Path

import numpy as np
import torch

FILE = Path(__file__).resolve().parents[2] / "models" / "apt-fashion-mnist.safetensors"


def read(path):
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    meta = json.loads(header.pop("__metadata__")["espalier"])
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = np.frombuffer(data[8 + length + begin:8 + length + end], {"F32": "<f4", "F16": "<f2"}[entry["dtype"]])
        tensors[name] = torch.tensor(values.astype(np.float64)).reshape(entry["shape"])
    return meta, tensors


def image():
    x = torch.full((28, 28), -1, dtype=torch.float64)
    for row in range(4, 28):
        x[row, 9:20] = float(np.float32(0.5) + np.float32(0.01) * np.float32(row))
    return x[None, None]


def forward(meta, w, x):
    config = meta["config"]
    d, heads = config["hiddenSize"], config["numHeads"]

    def linear(name, t):
        return t @ w[name + ".weight"].T + w[name + ".bias"]

    def norm(name, t):
        return torch.nn.functional.layer_norm(t, (d,), w[name + ".weight"], w[name + ".bias"], 1e-6)

    e = "transformer.embeddings."
    x = torch.nn.functional.conv2d(x, w[e + "patch_embeddings.weight"], w[e + "patch_embeddings.bias"], stride=config["patchSize"])
    x = torch.cat([w[e + "cls_token"][0], x.flatten(2)[0].T]) + w[e + "position_embeddings"][0]
    kept = []
    for i in range(config["numLayers"]):
        p = f"transformer.encoder.layer.{i}."
        n = norm(p + "attention_norm", x)
        q, k, v = (linear(p + "attn." + part, n).view(-1, heads, d // heads).transpose(0, 1) for part in ("query", "key", "value"))
        mixed = torch.softmax(q @ k.transpose(1, 2) / (d // heads) ** 0.5, -1) @ v
        x = x + linear(p + "attn.out", mixed.transpose(0, 1).reshape(-1, d))
        x = x + linear(p + "ffn.fc2", torch.nn.functional.gelu(linear(p + "ffn.fc1", norm(p + "ffn_norm", x))))
        if i in config["pruneLayers"]:
            a = f"transformer.encoder.clip_layer.{config['pruneLayers'].index(i)}."
            match = linear(a + "query", x[:1]) * linear(a + "key", x[1:])
            prune = torch.softmax(linear(a + "fc", torch.cat([linear(a + "value", x[1:]), match], 1)), 1)[:, 1]
            print("nearest to the threshold:", (prune - meta["threshold"]).abs().min().item())
            x = torch.cat([x[:1], x[1:][prune <= meta["threshold"]]])
            kept.append(len(x))
    return linear("head", norm("transformer.encoder.encoder_norm", x[:1]))[0], kept


meta, weights = read(FILE)
logits, kept = forward(meta, weights, image())
print("tokens", kept)
print(", ".join(f"{v:.4f}f" for v in logits.tolist()))
