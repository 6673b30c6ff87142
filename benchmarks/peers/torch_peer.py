"""PyTorch's side of the comparison: a vision transformer written by hand, and torchvision's networks, with our weights.
Requests come as JSON lines on stdin, answers go out as JSON lines; see Espalier.Peers/Peers/Peer.cs."""

import json
import struct
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


def read_safetensors(path):
    """Name -> float32 tensor, and the graph from the metadata."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    graph = json.loads(header.pop("__metadata__")["espalier"])["graph"]
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        array = np.frombuffer(data[begin:end], dtype="<f4").reshape(entry["shape"])
        tensors[name] = torch.from_numpy(array.copy())
    return tensors, graph


def shape_of(tensors, graph):
    """The widths of a plain vision transformer: most stand in its weights, the rest in its graph."""
    width, channels, patch, _ = tensors["transformer.embeddings.patch_embeddings.weight"].shape
    attention = [node["settings"] for node in graph["nodes"] if node["op"] == "Attention"]
    return {
        "channels": channels, "imageSize": graph["inputs"][0]["shape"][-1], "patchSize": patch, "hiddenSize": width,
        "mlpDim": tensors["transformer.encoder.layer.0.ffn.fc1.bias"].numel(), "numLayers": len(attention),
        "numHeads": width // attention[0]["queryWidth"], "numClasses": tensors["head.bias"].numel(),
    }


class Block(nn.Module):
    """x + Attention(LN(x)), then x + MLP(LN(x))."""

    def __init__(self, width, hidden, heads):
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width, eps=1e-6)
        self.ffn_norm = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(self.attention_norm(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        return self.rest(x, *qkv.permute(2, 0, 3, 1, 4))

    def forward_class_token(self, x):
        """The last block, of which only the class token is looked at: all else is left out, as we do."""
        batch, tokens, width = x.shape
        y = self.attention_norm(x)
        query = F.linear(y[:, :1], self.qkv.weight[:width], self.qkv.bias[:width])
        key, value = F.linear(y, self.qkv.weight[width:], self.qkv.bias[width:]).chunk(2, dim=-1)
        return self.rest(x[:, :1], *(t.reshape(batch, -1, self.heads, width // self.heads).transpose(1, 2)
                                     for t in (query, key, value)))

    def rest(self, x, query, key, value):
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        mixed = (F.softmax(scores, dim=-1) @ value).transpose(1, 2).reshape(x.shape)
        x = x + self.out(mixed)
        return x + self.fc2(F.gelu(self.fc1(self.ffn_norm(x))))


class VisionTransformer(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, patch = config["hiddenSize"], config["patchSize"]
        grid = config["imageSize"] // patch
        self.patches = nn.Conv2d(config["channels"], width, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, grid * grid + 1, width))
        self.blocks = nn.ModuleList(
            Block(width, config["mlpDim"], config["numHeads"]) for _ in range(config["numLayers"]))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, config["numClasses"])

    def forward(self, images):
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        for block in self.blocks[:-1]:
            x = block(x)
        x = self.blocks[-1].forward_class_token(x)
        return self.head(self.norm(x[:, 0]))


def load_weights(model, tensors):
    """Query, key and value become one matrix, as fast PyTorch models have it; every other name is only another name."""
    state = {}
    for name, value in tensors.items():
        for ours, theirs in [("transformer.embeddings.patch_embeddings", "patches"),
                             ("transformer.embeddings.position_embeddings", "positions"),
                             ("transformer.embeddings.cls_token", "cls_token"),
                             ("transformer.encoder.encoder_norm", "norm"),
                             ("transformer.encoder.layer", "blocks"),
                             (".ffn.fc", ".fc"), (".attn.", ".")]:
            name = name.replace(ours, theirs)
        state[name] = value
    for i in range(len(model.blocks)):
        for part in ["weight", "bias"]:
            thirds = [state.pop(f"blocks.{i}.{which}.{part}") for which in ["query", "key", "value"]]
            state[f"blocks.{i}.qkv.{part}"] = torch.cat(thirds)
    model.load_state_dict(state)


class CifarBlock(nn.Module):
    """Two kernels of three taps beside a shortcut without parameters: every second pixel, zeros as new channels."""

    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.stride, self.new = stride, planes - inputs
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        return F.relu(y + x)


class CifarResNet(nn.Module):
    """ResNet-20 for small images."""

    def __init__(self, channels, classes):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        width = 16
        for stage, planes in enumerate([16, 32, 64]):
            blocks = [CifarBlock(width, planes, 2 if stage > 0 else 1), CifarBlock(planes, planes, 1), CifarBlock(planes, planes, 1)]
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            width = planes
        self.linear = nn.Linear(width, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def classifier_of(tensors):
    """The last layer's name, which tells the networks apart."""
    return next(name for name in ["fc", "classifier.6", "linear"] if name + ".bias" in tensors)


def convolutional(tensors):
    """The network of these weights, which have its names: torchvision's, or ResNet-20."""
    import torchvision

    last = classifier_of(tensors)
    if last == "linear":
        model = CifarResNet(tensors["conv1.weight"].shape[1], tensors["linear.bias"].numel())
    else:
        model = torchvision.models.resnet50() if last == "fc" else torchvision.models.vgg16_bn()
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    odd = unexpected + [name for name in missing if not name.endswith("num_batches_tracked")]
    if odd:
        raise ValueError("weights do not fit the network: " + odd[0])
    return model


class Loaded:
    def __init__(self, request):
        tensors, graph = read_safetensors(request["file"])
        if "head.bias" in tensors:
            config = shape_of(tensors, graph)
            self.model = VisionTransformer(config)
            load_weights(self.model, tensors)
            classes = config["numClasses"]
        else:
            self.model = convolutional(tensors)
            classes = tensors[classifier_of(tensors) + ".bias"].numel()
        shape = (request["batch"], *graph["inputs"][0]["shape"])
        pixels = np.fromfile(request["input"], dtype="<f4", count=int(np.prod(shape)))
        self.images = torch.from_numpy(pixels.reshape(shape))
        self.labels = torch.arange(request["batch"]) % classes
        self.training = request["task"] == "train"
        self.model.train(self.training)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=request.get("lr", 0.0))

    def call(self):
        if not self.training:
            with torch.inference_mode():
                return self.model(self.images)
        self.optimizer.zero_grad(set_to_none=True)
        logits = self.model(self.images)
        loss = F.cross_entropy(logits, self.labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def run(self, seconds):
        times, start = [], time.perf_counter()
        now = start
        while not times or now - start < seconds:
            self.call()
            end = time.perf_counter()
            times.append((end - now) * 1000)
            now = end
        return times


def blas():
    """The BLAS library that is really there, which no function of PyTorch says."""
    with open("/proc/self/maps") as maps:
        files = {line.split()[-1].rsplit("/", 1)[-1] for line in maps if ".so" in line}
    return next((f for f in sorted(files) if "openblas" in f), next((f for f in files if "blas" in f), "no BLAS"))


def answer(request, loaded):
    op = request["op"]
    if op == "hello":
        return {"name": "PyTorch", "version": torch.__version__, "host": f"Python {sys.version.split()[0]}, {blas()}"}
    if op == "load":
        torch.set_num_threads(request["threads"])
        loaded[request["id"]] = Loaded(request)
        return {}
    if op == "run":
        return {"times": loaded[request["id"]].run(request["seconds"])}
    if op == "output":
        return {"output": loaded[request["id"]].call().detach().flatten().tolist()}
    if op == "unload":
        del loaded[request["id"]]
        return {}
    raise ValueError("no such request: " + op)


def main():
    loaded = {}
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line), loaded)
        except Exception as error:
            reply = {"error": str(error).splitlines()[0]}
        print(json.dumps(reply), flush=True)


main()
