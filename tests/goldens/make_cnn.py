#!/usr/bin/env python3
"""Golden values for the convolutional networks, from torchvision: logits with weights and images that both sides can make.

Every tensor of a network is filled by one formula from its name (see fill), so that no weights need to be kept.

    tests/goldens/make_cnn.py [OUTPUT_FILE]
"""
import json
import math
import sys
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import torchvision

DEFAULT = Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/Models/cnn.json"
OUTPUT = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
CLASSES = 7


def uniform(name, count):
    """In [-1, 1): the name's CRC plus multiples of an odd number, modulo 2^32."""
    start = zlib.crc32(name.encode())
    return ((start + np.arange(count, dtype=np.uint64) * 2654435761) % (1 << 32)) / 2.0 ** 31 - 1


def fill(name, shape):
    u = uniform(name, math.prod(shape))
    if name.endswith("running_var"):
        u = 1 + 0.5 * u
    elif len(shape) >= 2:
        u = u * math.sqrt(6 / math.prod(shape[1:]))
    elif name.endswith("weight"):
        u = 1 + 0.2 * u
    else:
        u = 0.2 * u
    return torch.tensor(u.reshape(shape), dtype=torch.float32)


class CifarBlock(nn.Module):
    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, planes, 3, stride, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False), nn.BatchNorm2d(planes)
        self.more, self.stride = planes - inputs, stride

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        short = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        return F.relu(y + short)


class CifarResNet(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        width = 16
        for stage in range(3):
            blocks = []
            for i in range(n):
                blocks.append(CifarBlock(width, 16 << stage, 2 if stage and not i else 1))
                width = 16 << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.linear = nn.Linear(64, CLASSES)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


class PreActBlock(nn.Module):
    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(planes), nn.Conv2d(planes, planes, 3, stride, 1, bias=False)
        self.bn3, self.conv3 = nn.BatchNorm2d(planes), nn.Conv2d(planes, 4 * planes, 1, bias=False)
        if inputs != 4 * planes:
            self.downsample = nn.Sequential(nn.Conv2d(inputs, 4 * planes, 1, stride, bias=False))

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x)))
        y = self.conv2(F.relu(self.bn2(y)))
        y = self.conv3(F.relu(self.bn3(y)))
        return y + (self.downsample(x) if hasattr(self, "downsample") else x)


class PreActResNet(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        width = 16
        for stage in range(3):
            blocks = []
            for i in range(n):
                blocks.append(PreActBlock(width, 16 << stage, 2 if stage and not i else 1))
                width = 64 << stage
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.bn, self.fc = nn.BatchNorm2d(width), nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(F.relu(self.bn(x)).mean((2, 3)))


class NormConv(nn.Module):
    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)

    def forward(self, x):
        y = self.conv1(F.relu(self.bn1(x)))
        return torch.cat((x, y), 1) if self.conv1.kernel_size == (3, 3) else F.avg_pool2d(y, 2)


class CifarDenseNet(nn.Module):
    def __init__(self, n, growth=12):
        super().__init__()
        width = 2 * growth
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        for block in range(1, 4):
            setattr(self, f"dense{block}", nn.Sequential(*[NormConv(width + i * growth, growth, 3) for i in range(n)]))
            width += n * growth
            if block < 3:
                setattr(self, f"trans{block}", NormConv(width, width, 1))
        self.bn, self.fc = nn.BatchNorm2d(width), nn.Linear(width, CLASSES)

    def forward(self, x):
        x = self.trans2(self.dense2(self.trans1(self.dense1(self.conv1(x)))))
        return self.fc(F.relu(self.bn(self.dense3(x))).mean((2, 3)))


models = torchvision.models
networks = {
    "vgg11_bn": (224, lambda: models.vgg11_bn(num_classes=CLASSES)),
    "resnet18": (64, lambda: models.resnet18(num_classes=CLASSES)),
    "resnet50": (64, lambda: models.resnet50(num_classes=CLASSES)),
    "resnet101": (64, lambda: models.resnet101(num_classes=CLASSES)),
    "resnet20": (32, lambda: CifarResNet(3)),
    "preresnet20": (32, lambda: PreActResNet(2)),
    "densenet40": (32, lambda: CifarDenseNet(12)),
    "densenet121": (64, lambda: models.densenet121(num_classes=CLASSES)),
    "mobilenet_v2": (64, lambda: models.mobilenet_v2(num_classes=CLASSES)),
    "mobilenet_v3_small": (64, lambda: models.mobilenet_v3_small(num_classes=CLASSES)),
    "mobilenet_v3_large": (64, lambda: models.mobilenet_v3_large(num_classes=CLASSES)),
    "efficientnet_b0": (64, lambda: models.efficientnet_b0(num_classes=CLASSES)),
    "efficientnet_b1": (64, lambda: models.efficientnet_b1(num_classes=CLASSES)),
    "efficientnet_b2": (64, lambda: models.efficientnet_b2(num_classes=CLASSES)),
    "efficientnet_b3": (64, lambda: models.efficientnet_b3(num_classes=CLASSES)),
    "efficientnet_b4": (64, lambda: models.efficientnet_b4(num_classes=CLASSES)),
    "convnext_tiny": (64, lambda: models.convnext_tiny(num_classes=CLASSES)),
    "regnet_x_400mf": (64, lambda: models.regnet_x_400mf(num_classes=CLASSES)),
    "regnet_y_400mf": (64, lambda: models.regnet_y_400mf(num_classes=CLASSES)),
    "regnet_y_800mf": (64, lambda: models.regnet_y_800mf(num_classes=CLASSES)),
    "shufflenet_v2_x1_0": (64, lambda: models.shufflenet_v2_x1_0(num_classes=CLASSES)),
}
result = {}
with torch.no_grad():
    for name, (size, make) in networks.items():
        net = make().eval()
        state = {k: v if k.endswith("num_batches_tracked") else fill(k, v.shape) for k, v in net.state_dict().items()}
        net.load_state_dict(state)
        images = torch.tensor(uniform("images", 2 * 3 * size * size).reshape(2, 3, size, size), dtype=torch.float32)
        parameters = {k: list(v.shape) for k, v in net.named_parameters()}
        result[name] = {"size": size, "logits": [float(f"{x:.8g}") for x in net(images).flatten().tolist()],
                        "names": zlib.crc32("\n".join(sorted(parameters)).encode())}
OUTPUT.parent.mkdir(parents=True, exist_ok=True)
OUTPUT.write_text(json.dumps({"classes": CLASSES, "networks": result}, indent=1) + "\n")
