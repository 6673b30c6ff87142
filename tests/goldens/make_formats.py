#!/usr/bin/python3
"""Writes tests/Espalier.Tests/Goldens/Formats/: small checkpoint files made by PyTorch, numpy and by hand.

Made with PyTorch 1.13 and numpy 1.24. Most arrays are ramps (0, 0.5, 1, ...), so that the tests know every value.
"""
import argparse, collections, datetime, enum, functools, io, json, os, pathlib, pickle, struct, tarfile, types, zipfile
import numpy as np
import torch

out = pathlib.Path(__file__).parent.parent / "Espalier.Tests" / "Goldens" / "Formats"
out.mkdir(parents=True, exist_ok=True)


def ramp(*shape, dtype=torch.float32):
    return (torch.arange(int(np.prod(shape)), dtype=torch.float64) / 2).reshape(shape).to(dtype)


# PyTorch: an OrderedDict with metadata, views, shared storage, every dtype.
base = ramp(4, 6)
dtypes = {f"dtype.{str(d)[6:]}": torch.tensor([0, 1, 2, 100], dtype=d) for d in
          (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)}
views = collections.OrderedDict(
    whole=base, transposed=base.t(), rows=base[1:3], columns=base[:, 1:4], every_second=base[::2, ::3],
    one=base[2, 3], expanded=torch.tensor([7.0]).expand(3, 2), empty=torch.zeros(0, 5),
    channels_last=ramp(2, 3, 2, 2).contiguous(memory_format=torch.channels_last),
    boolean=torch.tensor([True, False, True]), **dtypes)
torch.save(views, out / "views.pth")
torch.save(views, out / "legacy_views.pth", _use_new_zipfile_serialization=False)

# What training scripts save: nested, with all kinds of things beside the weights.
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
optimizer = torch.optim.AdamW(model.parameters())
model(ramp(4, 3)).sum().backward()
optimizer.step()
scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 4])
torch.save({"epoch": 3, "best": np.float64(0.5), "args": argparse.Namespace(lr=0.1, name="x"), "none": None,
            "big": 2 ** 70, "shape": torch.Size([1, 2]), "device": torch.device("cpu"),
            "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(),
            "model": model.state_dict()}, out / "nested.pth")
json.dump({k: v.double().flatten().tolist() for k, v in model.state_dict().items()}, open(out / "nested.json", "w"))

torch.save({"state_dict": {f"module.{k}": torch.nn.Parameter(v) for k, v in
                           (("weight", ramp(2, 3)), ("bias", ramp(2)))}}, out / "parallel.pt")
torch.save({"weight": ramp(2, 3)}, out / "protocol4.pt", pickle_protocol=4)
torch.save({"weight": ramp(2, 3)}, out / "protocol5.pt", pickle_protocol=5)
torch.save({"weight": ramp(2, 3)}, out / "legacy.pth", _use_new_zipfile_serialization=False)
torch.save(model, out / "module.pth")
torch.save({"model": {"weight": ramp(2, 3)}, "model_ema": {"weight": -ramp(2, 3)}, "epoch": 3}, out / "averages.pth")
torch.save({"epoch": 3}, out / "no_tensors.pth")


# Before PyTorch 0.2 torch.save wrote a tar of three files, which newer versions read and do not write any more: this is how it
# wrote, on Python 2 with protocol 2. Storages and tensors have numbers, one storage is a part of another, and Tensor.__reduce__ is
# not used: the pickle names tensors by their numbers.
def save_tar(path, state, part):
    def dump(value):
        return pickle.dumps(value, protocol=2)

    keys, storages, tensors = {}, b"", b""
    storage_keys = {}
    for name, tensor in state.items():
        keys[name] = 140_000_000_000_000 + 16 * len(keys)
        data = tensor.storage().data_ptr()
        if data not in storage_keys:
            storage_keys[data] = 150_000_000_000_000 + 16 * len(storage_keys)
            raw = tensor.storage()
            kind = tensor.type().split(".")[-1]
            storages += dump((storage_keys[data], "cpu", getattr(torch, kind.replace("Tensor", "Storage"))))
            storages += struct.pack("<q", raw.size()) + torch.tensor(list(raw), dtype=tensor.dtype).numpy().tobytes()
        tensors += dump((keys[name], storage_keys[data], getattr(torch, kind)))
        tensors += struct.pack(f"<q{tensor.dim()}q{tensor.dim()}qq", tensor.dim(), *tensor.shape, *tensor.stride(), tensor.storage_offset())
    # A storage that is elements 2 to 5 of the first one, with a tensor of its own.
    root = next(iter(storage_keys.values()))
    keys[part] = 140_000_000_000_000 + 16 * len(keys)
    tensors += dump((keys[part], 7, torch.FloatTensor)) + struct.pack("<qqqq", 1, 3, 1, 1)
    storages = dump(len(storage_keys)) + storages + dump([(7, root, 2, 4)])

    class Numbered(pickle.Pickler):
        def persistent_id(self, value):
            return value.key if isinstance(value, Key) else None

    class Key:
        def __init__(self, key):
            self.key = str(key)

    text = io.BytesIO()
    Numbered(text, protocol=2).dump(collections.OrderedDict((name, Key(key)) for name, key in keys.items()))
    system = dump(dict(protocol_version=1000, little_endian=True, type_sizes=dict(short=2, int=4, long=4)))
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as archive:
        for name, content in (("sys_info", system), ("pickle", text.getvalue()), ("tensors", dump(len(keys)) + tensors), ("storages", storages)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    read = torch.load(path)
    assert all(torch.equal(read[name], tensor) for name, tensor in state.items()) and read[part].shape == (3,)


old = ramp(4, 6)
save_tar(out / "before_0_2.pth", collections.OrderedDict([
    ("weight", old), ("transposed", old.t()), ("rows", old[1:3]), ("bias", ramp(2)), ("double", ramp(3, dtype=torch.float64)),
    ("steps", torch.tensor([1, 2, 100]))]), "part")


# Objects beside the tensors: of a script's own classes, derived from a dictionary and a list, paths, dates, random states.
class Settings:
    def __init__(self):
        self.rate, self.nested = 0.1, {"a": [1, 2]}


class Table(dict):
    pass


class Row(list):
    pass


class Mode(enum.Enum):
    FAST = 1


table = Table(a=1)
table.more = "attribute"
torch.save({"state_dict": {"weight": ramp(2, 3)}, "settings": Settings(), "table": table, "row": Row([1, 2]), "mode": Mode.FAST,
            "path": pathlib.PurePosixPath("a/b"), "date": datetime.date(2024, 1, 2), "random": np.random.RandomState(1),
            "space": types.SimpleNamespace(x=1), "part": functools.partial(Settings), "sets": [{1, 2}, frozenset({3})],
            "default": collections.defaultdict(list, a=[1]), "complex": 1 + 2j, "slice": slice(1, 2)}, out / "objects.pth")

# A lone tensor beside a wrapper, wrappers in wrappers, two networks of which nobody says which is meant.
weights = {"weight": ramp(2, 3), "bias": ramp(2)}
torch.save({"epoch": 5, "anything": weights, "best": torch.tensor(71.3)}, out / "beside.pth")
torch.save({"checkpoint": {"inner": {"state_dict": weights}}}, out / "deep.pth")
torch.save({"mine": weights, "yours": {k: -v for k, v in weights.items()}}, out / "two.pth")


# TorchScript: modules in modules, a buffer in half precision, and a program beside them.
class Scripted(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(3, 2))
        self.inner[0].weight.data = ramp(2, 3)
        self.scale = torch.nn.Parameter(torch.ones([]))
        self.register_buffer("halves", ramp(4).half())
        self.sizes = [1, 2]

    def forward(self, x):
        return self.inner(x) * self.scale + self.sizes[0]


torch.jit.save(torch.jit.script(Scripted()), str(out / "scripted.pt"))


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


torch.save({"weight": ramp(2), "x": Evil(os.system, "touch pwned")}, out / "evil_system.pth")
torch.save({"weight": ramp(2), "x": Evil(eval, "1+1")}, out / "evil_eval.pth")

# numpy
arrays = {"f4": np.arange(6, dtype="<f4").reshape(2, 3) / 2, "f2": np.arange(6, dtype="<f2") / 2,
          "f8": np.arange(6, dtype="<f8") / 2, "i8": np.arange(6, dtype="<i8"), "b1": np.array([True, False]),
          "u1": np.arange(250, 256, dtype="u1"), "scalar": np.float32(1.5), "empty": np.zeros((0, 3), "<f4"),
          "fortran": np.asfortranarray(np.arange(24, dtype="<f4").reshape(2, 3, 4)), "dir/name": np.ones(2, "<f4")}
np.savez(out / "plain.npz", **arrays)
np.savez_compressed(out / "packed.npz", **arrays)
np.savez(out / "objects.npz", o=np.array([{}], dtype=object))
np.savez(out / "big_endian.npz", o=np.arange(3, dtype=">f4"))

# zip64 records, which Python writes from 2 GiB on, at a limit that a small file passes
zipfile.ZIP64_LIMIT = 10
np.savez(out / "zip64.npz", a=np.arange(6, dtype="<f4") / 2, b=np.arange(3, dtype="<f4") / 2)

# safetensors, by hand from the format's description
data = struct.pack("<2f", 1.5, -2) + np.array([0.5, 65504], "<f2").tobytes() + struct.pack("<2H", 0x3F80, 0xC000) \
    + struct.pack("<2q", 1 << 40, -1) + struct.pack("<2i", 7, -7) + bytes([0, 255]) + bytes([1, 0])
header, at = {"__metadata__": {"format": "pt", "note": "grün"}}, 0
for name, dtype, shape, size in (("f32", "F32", [2], 8), ("f16", "F16", [2, 1], 4), ("bf16", "BF16", [1, 2], 4),
                                 ("i64", "I64", [2], 16), ("i32", "I32", [2], 8), ("u8", "U8", [2], 2), ("bool", "BOOL", [2], 2)):
    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
    at += size
text = json.dumps(header, ensure_ascii=False).encode()
text += b" " * (-len(text) % 8)
(out / "by_hand.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)

# Pickles as the CIFAR archives have them: Python 2's (str and an old numpy) and Python 3's.
pixels = np.arange(12, dtype=np.uint8).reshape(2, 6)
batch = {b"data": pixels, b"labels": [3, 9], b"filenames": [b"a.png", b"b.png"], b"batch_label": b"testing batch 1 of 1"}
for protocol in (2, 4, 5):
    (out / f"batch{protocol}.pickle").write_bytes(pickle.dumps(batch, protocol))


def short(text):
    return b"U" + bytes([len(text)]) + text


# Python 2 wrote every str with the opcodes U and T, and dtypes as ('u1', 0, 1).
(out / "batch_python2.pickle").write_bytes(
    b"\x80\x02}q\x01(" + short(b"data") + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + short(b"b")
    + b"\x87R(K\x01K\x02K\x06\x86cnumpy\ndtype\n" + short(b"u1") + b"K\x00K\x01\x87R(K\x03" + short(b"|")
    + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T\x0c\x00\x00\x00" + pixels.tobytes() + b"tb"
    + short(b"labels") + b"]q\x02(K\x03K\x09eu.")
assert pickle.loads((out / "batch_python2.pickle").read_bytes(), encoding="bytes")[b"data"].tolist() == pixels.tolist()
