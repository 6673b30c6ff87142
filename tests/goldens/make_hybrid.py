"""
Golden values of the ResNet stem of hybrid vision transformers, narrow (width 4, depths 1, 2, 1, 2 groups), in double precision.
Run in this folder with PyTorch 1.13; writes ../Espalier.Tests/Goldens/Hybrid/hybrid.safetensors: x, param/<name>,
<variant>/{y,dy} and <variant>/grad/<name>.
"""
import os
from collections import OrderedDict

import torch
import torch.nn.functional as fn
from torch import nn

from golden import Golden

WIDTH, DEPTHS, GROUPS = 4, (1, 2, 1), 2
PATH = "../Espalier.Tests/Goldens/Hybrid/hybrid.safetensors"


def same(x, kernel, stride, value=0.0):
    sides = []
    for n in (x.shape[3], x.shape[2]):
        total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
        sides += [total // 2, total - total // 2]
    return fn.pad(x, sides, value=value)


class Conv(nn.Conv2d):
    def __init__(self, google, cin, cout, kernel, stride=1):
        super().__init__(cin, cout, kernel, stride, 0 if google else kernel // 2, bias=False)
        self.google = google

    def forward(self, x):
        w = self.weight
        mean = w.mean((1, 2, 3), keepdim=True)
        var = w.var((1, 2, 3), keepdim=True, unbiased=False)
        w = (w - mean) / (var.sqrt() + 1e-5 if self.google else (var + 1e-5).sqrt())
        if self.google:
            x = same(x, self.kernel_size[0], self.stride[0])
        return fn.conv2d(x, w, None, self.stride, self.padding)


class Unit(nn.Module):
    def __init__(self, google, cin, mid, stride):
        super().__init__()
        out = 4 * mid
        self.conv1, self.gn1 = Conv(google, cin, mid, 1), nn.GroupNorm(GROUPS, mid, 1e-6)
        self.conv2, self.gn2 = Conv(google, mid, mid, 3, stride), nn.GroupNorm(GROUPS, mid, 1e-6)
        self.conv3, self.gn3 = Conv(google, mid, out, 1), nn.GroupNorm(GROUPS, out, 1e-6)
        if cin != out or stride != 1:
            self.downsample = Conv(google, cin, out, 1, stride)
            self.gn_proj = nn.GroupNorm(GROUPS, out, 1e-6) if google else nn.GroupNorm(out, out, 1e-5)

    def forward(self, x):
        y = self.gn1(self.conv1(x)).relu()
        y = self.gn2(self.conv2(y)).relu()
        y = self.gn3(self.conv3(y))
        return ((self.gn_proj(self.downsample(x)) if hasattr(self, "downsample") else x) + y).relu()


class Stem(nn.Module):
    def __init__(self, google):
        super().__init__()
        self.google = google
        self.root = nn.Sequential(OrderedDict(conv=Conv(google, 3, WIDTH, 7, 2), gn=nn.GroupNorm(GROUPS, WIDTH, 1e-6)))
        blocks, cin, mid = OrderedDict(), WIDTH, WIDTH
        for b, depth in enumerate(DEPTHS):
            units = OrderedDict()
            for u in range(depth):
                units[f"unit{u + 1}"] = Unit(google, cin, mid, 2 if b > 0 and u == 0 else 1)
                cin = 4 * mid
            blocks[f"block{b + 1}"] = nn.Sequential(units)
            mid *= 2
        self.body = nn.Sequential(blocks)

    def forward(self, x):
        x = self.root(x).relu()
        if self.google:
            x = same(x, 3, 2, float("-inf"))
        return self.body(fn.max_pool2d(x, 3, 2))


g = Golden()


def put(key, value):
    g.arrays[key] = value.detach().numpy().astype("<f4", order="C")


params = {}
for name, p in Stem(True).named_parameters():
    draw = g.rand(name, *p.shape, scale=0.2 if p.dim() == 1 else 0.05)
    params[name] = draw + 1 if p.dim() == 1 and name.endswith("weight") else draw
    put("param/" + name, params[name])
x = g.rand("x", 2, 3, 40, 32)
put("x", x)
for variant in ("Google", "Torch"):
    stem = Stem(variant == "Google").double()
    stem.load_state_dict(params)
    xd = x.double().requires_grad_()
    y = stem(xd)
    dy = g.rand(variant + "dy", *y.shape)
    (y * dy.double()).sum().backward()
    put(variant + "/y", y)
    put(variant + "/dy", dy)
    grads = dict(stem.named_parameters())
    for name in ("root.conv.weight", "body.block1.unit1.gn_proj.bias", "body.block2.unit2.conv2.weight",
                 "body.block3.unit1.downsample.weight", "body.block3.unit1.gn_proj.weight"):
        put(f"{variant}/grad/{name}", grads[name].grad)
os.makedirs(os.path.dirname(PATH), exist_ok=True)
g.save(PATH)
