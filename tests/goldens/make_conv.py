"""Golden values of convolution, pooling, channel norms and resizing.

Run in this folder with PyTorch 1.13; writes conv.safetensors.
"""
import torch
import torch.nn.functional as fn

from golden import Golden

g = Golden()
r = g.rand


def conv(name, x, w, bias=True, pad=None, **options):
    def run(x, w, b=None):
        return fn.conv2d(fn.pad(x, pad) if pad else x, w, b, **options)
    inputs = dict(x=r(name, *x), w=r(name + "w", *w, scale=0.3))
    if bias:
        inputs["b"] = r(name + "b", w[0])
    g.case("Conv2d." + name, run, **inputs)


# pad is (left, right, top, bottom)
conv("plain", (2, 3, 6, 5), (4, 3, 3, 3))
conv("same", (2, 2, 8, 7), (3, 2, 3, 3), bias=False, pad=(1, 1, 0, 1), stride=2)
conv("root", (1, 3, 16, 16), (4, 3, 7, 7), bias=False, pad=(2, 3, 2, 3), stride=2)
conv("pointwise", (3, 5, 4, 3), (6, 5, 1, 1))
conv("projection", (2, 5, 5, 6), (4, 5, 1, 1), bias=False, stride=2)
conv("strides", (2, 3, 7, 6), (4, 3, 3, 3), padding=1, stride=(2, 1))
conv("dilated", (1, 2, 9, 8), (3, 2, 3, 2), padding=2, dilation=2)
conv("grouped", (3, 6, 5, 5), (4, 3, 3, 3), padding=1, groups=2)
conv("depthwise", (2, 4, 6, 21), (4, 1, 3, 3), padding=1, groups=4)
conv("depthwiseStride", (2, 3, 7, 9), (3, 1, 5, 5), bias=False, padding=2, stride=2, groups=3)
conv("depthwiseTimes2", (2, 3, 6, 6), (6, 1, 3, 3), padding=2, dilation=2, groups=3)


def pool(name, f, *x):
    g.case(name, f, x=r(name, *x))


pool("MaxPool2d.plain", lambda x: fn.max_pool2d(x, 2), 2, 3, 5, 4)
pool("MaxPool2d.padded", lambda x: fn.max_pool2d(x, 3, 2, 1), 2, 2, 7, 6)
pool("MaxPool2d.same", lambda x: fn.max_pool2d(fn.pad(x, (0, 1, 0, 1), value=float("-inf")), 3, 2), 1, 2, 6, 8)
pool("AvgPool2d.plain", lambda x: fn.avg_pool2d(x, 2), 2, 3, 5, 4)
pool("AvgPool2d.padded", lambda x: fn.avg_pool2d(x, 3, 2, 1), 2, 2, 7, 6)
pool("AvgPool2d.excluding", lambda x: fn.avg_pool2d(x, 3, 2, 1, count_include_pad=False), 2, 2, 7, 6)
pool("GlobalAvgPool2d", lambda x: x.mean((2, 3)), 2, 3, 5, 7)


def channels(name, f, shape, **more):
    c = shape[1]
    g.case(name, f, constants=list(more), x=r(name, *shape) + 3, gamma=r(name + "g", c, low=0.5), beta=r(name + "b", c), **more)


statistics = dict(mean=r("bn.mean", 3), var=r("bn.var", 3, low=0.5))
channels("BatchNorm2d.train", lambda x, gamma, beta: fn.batch_norm(x, None, None, gamma, beta, True), (4, 3, 3, 5))
channels("BatchNorm2d.eval", lambda x, gamma, beta, mean, var: fn.batch_norm(x, mean, var, gamma, beta, False),
         (2, 3, 3, 5), **statistics)
channels("BatchNorm2d.rows", lambda x, gamma, beta: fn.batch_norm(x, None, None, gamma, beta, True), (9, 4))
channels("GroupNorm.groups", lambda x, gamma, beta: fn.group_norm(x, 3, gamma, beta, 1e-6), (2, 6, 3, 5))
channels("GroupNorm.channels", lambda x, gamma, beta: fn.group_norm(x, 4, gamma, beta), (2, 4, 3, 7))


# The running statistics after one training step are the output here; they have no gradient.
def running(name, which):
    def run(x, mean, var):
        fn.batch_norm(x, mean, var, None, None, True, 0.3)
        return (mean, var)[which]
    g.case(name, run, constants=["x", "mean", "var"], x=r("running", 4, 3, 2, 3) + 1, **statistics)


running("RunningMean", 0)
running("RunningVar", 1)


def standardise(kind, w):
    rows = w.flatten(1)
    mean = rows.mean(1, keepdim=True)
    var = rows.var(1, unbiased=False, keepdim=True)
    scale = {"Google": lambda: var.sqrt() + 1e-5, "Jeonsworld": lambda: (var + 1e-5).sqrt(), "Timm": lambda: (var + 1e-8).sqrt()}
    return ((rows - mean) / scale[kind]()).view_as(w)


for kind in ["Google", "Jeonsworld", "Timm"]:
    g.case("WeightStandardise." + kind, lambda w, kind=kind: standardise(kind, w), w=r("ws", 3, 2, 3, 3, scale=0.02))

for mode, options in [("Nearest", dict(mode="nearest")), ("Bilinear", dict(mode="bilinear")),
                      ("BilinearAlignCorners", dict(mode="bilinear", align_corners=True)), ("Bicubic", dict(mode="bicubic"))]:
    for h, w in [(7, 9), (3, 2), (5, 1)]:
        g.case(f"Interpolate.{mode}.{h}x{w}", lambda x, h=h, w=w, o=options: fn.interpolate(x, (h, w), **o),
               x=r("resize", 2, 2, 4, 5))

places = torch.tensor([4., 0., 3.])
g.case("IndexSelect", lambda x, index: x.index_select(1, index.long()), constants=["index"],
       x=r("select", 2, 5, 3, 4), index=places)
g.case("IndexAdd", lambda x, shift, index, branch: (x + shift[:, None, None]).index_add(1, index.long(), branch),
       constants=["index"], x=r("add", 2, 5, 3, 4), shift=r("shift", 5), index=places, branch=r("branch", 2, 3, 3, 4))

g.save("conv.safetensors")
