"""Small networks as PyTorch 1.13 exports them to ONNX, with an input and what it gives. Run in this folder; writes
../Espalier.Tests/Goldens/Onnx."""
import math
import os
import warnings

import torch
import torch.nn as nn
import torch.nn.functional as fn
import torchvision.models as tv
from torchvision.models.convnext import CNBlockConfig

from golden import Golden

warnings.filterwarnings("ignore")
FOLDER = "../Espalier.Tests/Goldens/Onnx"
g = Golden()


class TimmAttention(nn.Module):
    """Queries, keys and values by one layer, taken apart as timm does."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, dim * 3), nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        a = ((q @ k.transpose(-2, -1)) * self.scale).softmax(-1)
        return self.proj((a @ v).transpose(1, 2).reshape(b, n, c))


class HuggingFaceAttention(nn.Module):
    """Three layers, scores divided."""

    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.width = heads, dim // heads
        self.query, self.key, self.value, self.dense = (nn.Linear(dim, dim) for _ in range(4))

    def split(self, x):
        return x.view(x.size()[:-1] + (self.heads, self.width)).permute(0, 2, 1, 3)

    def forward(self, x):
        q = self.split(self.query(x))
        a = fn.softmax(torch.matmul(q, self.split(self.key(x)).transpose(-1, -2)) / math.sqrt(self.width), dim=-1)
        y = torch.matmul(a, self.split(self.value(x))).permute(0, 2, 1, 3).contiguous()
        return self.dense(y.view(y.size()[:-2] + (self.heads * self.width,)))


class Vit(nn.Module):
    def __init__(self, attention, act):
        super().__init__()
        self.patch = nn.Conv2d(3, 12, 4, 4)
        self.cls, self.pos = nn.Parameter(torch.randn(1, 1, 12)), nn.Parameter(torch.randn(1, 17, 12))
        self.blocks = nn.ModuleList([nn.ModuleDict(dict(
            norm1=nn.LayerNorm(12), attn=attention(12, 3), norm2=nn.LayerNorm(12), fc1=nn.Linear(12, 20), fc2=nn.Linear(20, 12)))
            for _ in range(2)])
        self.norm, self.head, self.act = nn.LayerNorm(12, eps=1e-6), nn.Linear(12, 5), act

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls.expand(x.shape[0], -1, -1), x), dim=1) + self.pos
        for b in self.blocks:
            x = x + b["attn"](b["norm1"](x))
            x = x + b["fc2"](self.act(b["fc1"](b["norm2"](x))))
        return self.head(self.norm(x)[:, 0])


class Mixed(nn.Module):
    """Groups shuffled, gates, a squeeze, borders, resizing, two outputs."""

    def __init__(self):
        super().__init__()
        self.conv, self.group = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.down, self.up, self.act = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1), nn.Hardswish()
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.act(self.conv(x))
        b, c, h, w = x.shape
        x = self.group(x.view(b, 4, c // 4, h, w).transpose(1, 2).reshape(b, c, h, w))
        x = x * torch.sigmoid(self.up(fn.silu(self.down(fn.adaptive_avg_pool2d(x, 1)))))
        a, r = x.chunk(2, 1)
        x = torch.cat((fn.pad(a, (1, 1, 2, 0), mode="reflect")[:, :, 1:-1, 1:-1], r[:, :, :-1, :].flip(3)[:, :, :, :8]), 2)
        x = torch.cat((x, fn.softplus(x)), 1)
        maps = fn.interpolate(x, size=(16, 16), mode="bilinear", align_corners=False)
        return self.fc(x.mean((2, 3))), maps


def export(name, net, fresh=False, size=16, opset=16, batch=2, static=False):
    torch.manual_seed(0)
    net = net().eval()
    if not fresh:
        with torch.no_grad():
            for i, p in enumerate(net.parameters()):
                p.add_(g.rand(f"{name}{i}", *p.shape, scale=0.05))
    x = g.rand(name, batch, 3, size, size)
    with torch.no_grad():
        y = net(x)
    outputs = ["output"] if isinstance(y, torch.Tensor) else [f"output{i}" for i in range(len(y))]
    axes = None if static else {n: {0: "N"} for n in ["images", *outputs]}
    torch.onnx.export(net, x, f"{FOLDER}/{name}.onnx", opset_version=opset, input_names=["images"], output_names=outputs, dynamic_axes=axes)
    g._put(f"{name}/in", x)
    g._put(f"{name}/count", torch.tensor([sum(p.numel() for p in net.parameters())]))
    for n, v in zip(outputs, y if len(outputs) > 1 else [y]):
        g._put(f"{name}/{n}", v)


os.makedirs(FOLDER, exist_ok=True)
tiny = dict(image_size=16, patch_size=4, num_layers=2, num_heads=3, hidden_dim=12, mlp_dim=20, num_classes=5)
export("torchvision", lambda: tv.VisionTransformer(**tiny))
export("fresh", lambda: tv.VisionTransformer(**tiny), fresh=True, opset=13)
export("static", lambda: tv.VisionTransformer(**tiny), batch=1, static=True)
export("timm", lambda: Vit(TimmAttention, nn.GELU()))
export("huggingface", lambda: Vit(HuggingFaceAttention, lambda x: 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))), opset=12)
export("norm17", lambda: Vit(TimmAttention, nn.GELU()), opset=17)
export("swin", lambda: tv.SwinTransformer(patch_size=[2, 2], embed_dim=8, depths=[2, 1], num_heads=[2, 4], window_size=[3, 3], num_classes=5))
export("convnext", lambda: tv.ConvNeXt([CNBlockConfig(8, 16, 2), CNBlockConfig(16, None, 1)], num_classes=5))
export("maxvit", lambda: tv.MaxVit(input_size=(16, 16), stem_channels=8, partition_size=2, block_channels=[8], block_layers=[1], head_dim=4,
                                   stochastic_depth_prob=0, num_classes=5))
export("mixed", Mixed)
export("decoder", lambda: nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ConvTranspose2d(6, 4, 3, 2, 1, output_padding=1, groups=2), nn.PReLU(4),
                                        nn.ConvTranspose2d(4, 3, 2, 2, bias=False), nn.ReflectionPad2d(1), nn.ELU(0.7)))
export("opset9", lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU6(), nn.MaxPool2d(3, 2, ceil_mode=True),
                                       nn.Upsample(scale_factor=2), nn.Flatten(), nn.Linear(4 * 14 * 14, 5), nn.LogSoftmax(1)), opset=9)
g.save(f"{FOLDER}/values.safetensors")
