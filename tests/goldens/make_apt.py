"""Golden values of APT from the PyTorch reference: a random checkpoint under the original's names, the tokens left after
each agent and the logits for some Fashion-MNIST images, and the weights after four three-stream training steps; once more
after four steps in which agents are paid by agreement and judge in the company that they leave.

    /usr/bin/python3 tests/goldens/make_apt.py ../shared/reference

The argument is the folder that holds the reference, apt_torch.py. Writes tests/Espalier.Tests/Goldens/Apt/.
"""
import gzip
import json
import pathlib
import struct
import sys

import numpy as np
import torch

sys.path.insert(0, sys.argv[1])
import apt_torch  # noqa: E402

SOURCE = pathlib.Path("/usr/share/datasets/fashion-mnist")
TARGET = pathlib.Path(__file__).resolve().parent.parent / "Espalier.Tests" / "Goldens" / "Apt"
IMAGES, BATCH, STEPS, RATE, MARGIN = 64, 16, 4, 0.03, 0.002
CONFIG = {"imageSize": 28, "patchSize": 4, "channels": 1, "hiddenSize": 32, "mlpDim": 64, "numHeads": 4, "numLayers": 6,
          "numClasses": 10, "pruneLayers": [1, 3]}


def read_idx(name, skip):
    path = next(p for p in (SOURCE / name, SOURCE / (name + ".gz")) if p.exists())
    raw = gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()
    return np.frombuffer(raw, np.uint8, offset=skip)


def write_idx(name, array):
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + b"".join(struct.pack(">I", n) for n in array.shape)
    (TARGET / name).write_bytes(header + array.tobytes())


def model():
    torch.manual_seed(7)
    apt = apt_torch.Apt(dim=32, hidden=64, heads=4, layers=6, patch=4, img=28, channels=1, classes=10, clip_layers=(1, 3))
    with torch.no_grad():
        for name, p in apt.named_parameters():
            if name.endswith(("position_embeddings", "cls_token")):
                p.normal_(0, 0.5)
            elif "clip_layer" in name:
                p.normal_(0, 0.35)
            elif "norm" in name:
                p.add_(torch.randn_like(p) * 0.1)
    return apt


def suffix(apt, h, first, alive):
    """Logits from the input of block `first` on, in which only tokens of `alive` [B, T] are seen."""
    mask = torch.where(alive, 0.0, -10000.0)[:, None, None, :]
    for block in apt.transformer.encoder.layer[first:]:
        h = block(h, mask)
    return apt.head(apt.transformer.encoder.encoder_norm(h)[:, 0])


def acting_step(apt, x, y, optimizer):
    """One step with rewards by agreement, in the company that the agents themselves leave."""
    encoder = apt.transformer.encoder
    with torch.no_grad():
        whole = apt(x)[0].log_softmax(-1)
    h = apt.transformer.embeddings(x)
    alive = torch.ones(h.shape[:2], dtype=torch.bool)
    seen, agent = [], 0
    for i, block in enumerate(encoder.layer):
        h = block(h, torch.where(alive, 0.0, -10000.0)[:, None, None, :])
        if i in encoder.clip_layer_id:
            p = encoder.clip_layer[agent](h.detach()).softmax(-1)[:, :, 1]
            act = alive & (p > 0.5)
            act[:, 0] = False
            seen.append((i, h.detach(), alive, alive & ~act, p.detach()))
            alive, agent = alive & ~act, agent + 1
    torch.nn.functional.cross_entropy(apt.head(encoder.encoder_norm(h)[:, 0]), y).backward()
    for agent, (i, h, alive, kept, p) in enumerate(seen):
        usable = alive[:, 1:].any(1)
        unsure = torch.where(alive[:, 1:], (p[:, 1:] - 0.5).abs(), torch.tensor(9.0)).argmin(1) + 1
        probed = torch.nn.functional.one_hot(unsure, h.shape[1]).bool()
        with torch.no_grad():
            paid = [(whole.exp() * (suffix(apt, h, i + 1, some).log_softmax(-1) - whole)).sum(1)
                    for some in (kept & ~probed, kept | probed)]
        label = (paid[0] - paid[1] > -MARGIN).long()
        logits = encoder.clip_layer[agent](h)[probed]
        torch.nn.functional.cross_entropy(logits[usable], label[usable]).backward()
    torch.nn.utils.clip_grad_norm_(apt.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()


def main():
    TARGET.mkdir(parents=True, exist_ok=True)
    for split, stem in (("train", "train"), ("test", "t10k")):
        pixels = read_idx(f"{stem}-images-idx3-ubyte", 16).reshape(-1, 28, 28)[:IMAGES]
        labels = read_idx(f"{stem}-labels-idx1-ubyte", 8)[:IMAGES]
        write_idx(f"{stem}-images-idx3-ubyte", pixels)
        write_idx(f"{stem}-labels-idx1-ubyte", labels)
    (TARGET / "config.json").write_text(json.dumps(CONFIG) + "\n")

    apt = model()
    torch.save(apt.state_dict(), TARGET / "random.pth")
    apt.eval()
    x = (torch.from_numpy(read_idx("t10k-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28)[:IMAGES].copy()).float() / 255 - 0.5) / 0.5
    rows = []
    with torch.no_grad():
        plain = apt(x)[0]
        for i in range(IMAGES):
            shapes = []
            logits = apt(x[i:i + 1], 1, [1, 3], remove=True, shapes=shapes)[0]
            rows.append({"index": i, "tokens": [50] + shapes, "logits": logits[0].tolist(), "plain": plain[i].tolist()})
    (TARGET / "expected.json").write_text("[\n" + ",\n".join(json.dumps(r) for r in rows) + "\n]\n")

    x = (torch.from_numpy(read_idx("train-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28)[:IMAGES].copy()).float() / 255 - 0.5) / 0.5
    y = torch.from_numpy(read_idx("train-labels-idx1-ubyte", 8)[:IMAGES].astype(np.int64))
    apt.train()
    optimizer = torch.optim.SGD(apt.parameters(), lr=RATE, momentum=0.9)
    for step in range(STEPS):
        batch = slice(step * BATCH, (step + 1) * BATCH)
        apt_torch.train_step(apt, x[batch], y[batch], optimizer)
    torch.save(apt.state_dict(), TARGET / "trained.pth")
    apt = model()
    optimizer = torch.optim.SGD(apt.parameters(), lr=RATE, momentum=0.9)
    for step in range(STEPS):
        batch = slice(step * BATCH, (step + 1) * BATCH)
        acting_step(apt, x[batch], y[batch], optimizer)
    torch.save(apt.state_dict(), TARGET / "trained-acting.pth")
    print("tokens after the agents:", np.mean([r["tokens"] for r in rows], axis=0))


main()
