"""A small network as PyTorch 1.13's own quantiser leaves it, in ONNX with QuantizeLinear and DequantizeLinear, with an input and what
PyTorch's integer kernels give. Run in this folder; writes ../Espalier.Tests/Goldens/OnnxQuantised."""
import os
import warnings

import torch
import torch.ao.quantization as tq
import torch.nn as nn

from golden import Golden

warnings.filterwarnings("ignore")
FOLDER = "../Espalier.Tests/Goldens/OnnxQuantised"
g = Golden()


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.quant, self.dequant = tq.QuantStub(), tq.DeQuantStub()
        self.conv1, self.relu1 = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()
        self.conv2, self.relu2 = nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(12 * 4, 5)

    def forward(self, x):
        x = self.relu1(self.conv1(self.quant(x)))
        x = self.pool(self.relu2(self.conv2(x)))
        return self.dequant(self.fc(torch.flatten(x, 1)))


def net(name):
    torch.manual_seed(3)
    made = Net()
    with torch.no_grad():
        for i, p in enumerate(made.parameters()):
            p.copy_(g.rand(f"{name}{i}", *p.shape, scale=0.3))
    return made


def write(name, made, x):
    with torch.no_grad():
        y = made(x)
    torch.onnx.export(made, x, f"{FOLDER}/{name}.onnx", opset_version=13, input_names=["images"], output_names=["logits"],
                      dynamic_axes={"images": {0: "N"}, "logits": {0: "N"}})
    g._put(f"{name}/in", x)
    g._put(f"{name}/out", y)


def converted(name, engine, config):
    torch.backends.quantized.engine = engine
    made = tq.fuse_modules(net(name).eval(), [["conv1", "relu1"], ["conv2", "relu2"]])
    made.qconfig = config
    tq.prepare(made, inplace=True)
    made(g.rand(name + "/calibration", 32, 3, 8, 8))
    tq.convert(made, inplace=True)
    write(name, made, g.rand(name, 6, 3, 8, 8))


def trained(name):
    """Fake quantisation, as quantisation-aware training leaves it: weights are floats in the file."""
    made = tq.fuse_modules_qat(net(name).train(), [["conv1", "relu1"], ["conv2", "relu2"]])
    made.qconfig = tq.get_default_qat_qconfig("fbgemm", version=0)
    tq.prepare_qat(made, inplace=True)
    made(g.rand(name + "/calibration", 32, 3, 8, 8))
    made.eval().apply(tq.disable_observer)
    write(name, made, g.rand(name, 6, 3, 8, 8))


os.makedirs(FOLDER, exist_ok=True)
converted("tensor", "qnnpack", tq.get_default_qconfig("qnnpack"))
converted("channel", "onednn", tq.get_default_qconfig("fbgemm"))
trained("fake")
g.save(f"{FOLDER}/values.safetensors")
