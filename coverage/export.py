"""export.py NAME FOLDER [SIZE]: a network of torchvision with random weights as model.onnx, an input as x.npy, what it gives as y.npy."""
import sys
import warnings

import numpy as np
import torch
import torchvision

warnings.filterwarnings("ignore")
name, folder = sys.argv[1:3]
segmentation = not hasattr(torchvision.models, name)
make = getattr(torchvision.models.segmentation if segmentation else torchvision.models, name)
extra = {"weights_backbone": None} if segmentation else {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
# As small as leaves every stage a map: time goes with the size, and nothing else does.
size = (224 if name == "maxvit_t" or name.startswith(("vgg", "alexnet")) else 139 if name == "inception_v3"
        else 128 if name.endswith("_32") and "vit" in name else 112)
if len(sys.argv) > 3:
    size = int(sys.argv[3])
if name.startswith("vit_"):
    extra["image_size"] = size
torch.manual_seed(0)
net = make(weights=None, **extra).eval()
g = torch.Generator().manual_seed(1)
with torch.no_grad():
    # Equal weights, as fresh ones are, would be written once.
    for p in net.parameters():
        p.add_(torch.randn(p.shape, generator=g) * 0.02 * (p.abs().mean() + 0.1))
    for key, b in net.named_buffers():
        if key.endswith("running_mean"):
            b.copy_(torch.randn(b.shape, generator=g) * 0.1)
        if key.endswith("running_var"):
            b.copy_(torch.rand(b.shape, generator=g) + 0.5)


class First(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net

    def forward(self, x):
        y = self.net(x)
        return y["out"] if segmentation else y


x = torch.randn(2, 3, size, size, generator=g)
with torch.no_grad():
    y = First()(x)
# Swin v2 sets a slice of its biases to zero in each pass, which this PyTorch has no operator of ONNX for.
torch.onnx.register_custom_op_symbolic("aten::zero", lambda g, t: g.op("Sub", t, t), 9)
# With gradients: without, attention is one operator of PyTorch's own, which ONNX does not have.
torch.onnx.export(First().eval() if segmentation else net, x, f"{folder}/model.onnx", opset_version=16, input_names=["images"],
                  output_names=["output"], dynamic_axes={"images": {0: "N"}, "output": {0: "N"}})
np.save(f"{folder}/x.npy", x.numpy())
np.save(f"{folder}/y.npy", y.numpy())
