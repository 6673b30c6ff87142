"""Golden values of all ops but convolutions. Run in this folder with PyTorch 1.13; writes ops.safetensors."""
import torch
import torch.nn.functional as fn

from golden import Golden

g = Golden()
r = g.rand

# Broadcasting arithmetic
for name, f in [("Add", torch.add), ("Sub", torch.sub), ("Mul", torch.mul), ("Div", torch.div)]:
    def operands(case, a, b, f=f):
        low = 0.5 if name == "Div" else None
        g.case(case, lambda a, b: f(a, b), a=r(case, *a), b=r(case + "b", *b, low=low))
    operands(f"{name}.same", (3, 5), (3, 5))
    operands(f"{name}.bias", (4, 7), (7,))
    operands(f"{name}.column", (4, 1), (4, 6))
    operands(f"{name}.channel", (2, 3, 2, 5), (3, 1, 1))
    operands(f"{name}.outer", (3, 1, 4), (2, 1))
    operands(f"{name}.value", (2, 3), ())

# Softmax and losses
# Functions of one tensor; those with kinks or poles keep away from them
x = r("unary", 4, 9, scale=2)
positive = r("positive", 4, 9, low=0.2, scale=3)
for name, f in [("Neg", torch.neg), ("Exp", torch.exp), ("Square", torch.square), ("Abs", torch.abs), ("Tanh", torch.tanh),
                ("Sigmoid", torch.sigmoid), ("Relu", torch.relu), ("Gelu", fn.gelu), ("Silu", fn.silu),
                ("Clamp", lambda x: torch.clamp(x, -1, 0.5)), ("Affine", lambda x: 2.5 * x - 0.75)]:
    g.case(name, lambda x, f=f: f(x), x=x)
for name, f in [("Log", torch.log), ("Sqrt", torch.sqrt), ("Pow.fraction", lambda x: x ** 1.7), ("Pow.negative", lambda x: x ** -2)]:
    g.case(name, lambda x, f=f: f(x), x=positive)
g.case("Pow.cube", lambda x: x ** 3, x=x)

# Functions without an op of their own; those with kinks or poles keep away from them
inside = r("inside", 4, 9, low=-0.9, scale=1.8)
for name, f in [("Acos", torch.acos), ("Asin", torch.asin), ("Atan", torch.atan), ("Atanh", torch.atanh), ("Erf", torch.erf),
                ("Asinh", torch.asinh), ("Ceil", torch.ceil), ("Celu", lambda x: fn.celu(x, 0.7)), ("Cos", torch.cos),
                ("Cosh", torch.cosh), ("Elu", lambda x: fn.elu(x, 0.7)), ("Floor", torch.floor),
                ("GeluTanh", lambda x: fn.gelu(x, approximate="tanh")), ("HardSigmoid", lambda x: torch.clamp(0.7 * x + 0.4, 0, 1)),
                ("HardSwish", fn.hardswish), ("LeakyRelu", lambda x: fn.leaky_relu(x, 0.7)), ("Mish", fn.mish),
                ("Round", torch.round), ("Selu", lambda x: torch.where(x > 0, 0.4 * x, 0.4 * 0.7 * (torch.exp(x) - 1))),
                ("Sign", torch.sign), ("Sin", torch.sin), ("Sinh", torch.sinh), ("Softplus", fn.softplus),
                ("Softsign", fn.softsign), ("Swish", lambda x: x * torch.sigmoid(0.7 * x)), ("Tan", torch.tan)]:
    g.case("Element." + name, lambda x, f=f: f(x), x=inside)
g.case("Element.Reciprocal", torch.reciprocal, x=positive)
g.case("Element.Acosh", torch.acosh, x=r("beyond", 4, 9, low=1.1, scale=2))
g.case("Element.ThresholdedRelu", lambda x: fn.threshold(x, 0.7, 0), x=r("threshold", 4, 9, scale=2))
for name, f in [("Max", torch.maximum), ("Min", torch.minimum), ("FMod", torch.fmod), ("Mod", torch.remainder), ("Pow", torch.pow)]:
    low = 0.3 if name in ("FMod", "Mod", "Pow") else None
    g.case("Pair." + name, lambda a, b, f=f: f(a, b), a=r("Pair" + name, 3, 1, 4, low=low, scale=3), b=r("Pair.b" + name, 2, 4, low=low))
choice = (r("Where.c", 3, 5) > 0).float()
g.case("Where", lambda c, a, b: torch.where(c > 0, a, b), constants=("c",), c=choice, a=r("Where.a", 1, 5), b=r("Where.b", 2, 3, 5))
g.case("Repeat", lambda x: x.expand(4, 3, 5), x=r("Repeat", 1, 3, 5))
places = torch.tensor([3, 0, 14, 3, 7, 7])
g.case("Pick", lambda x: x.flatten(1)[:, places].reshape(2, 2, 3), x=r("Pick", 2, 3, 5))

# Codes of a few bits; values that are cut have no gradient
def quantised(x, scale, zero, low, high):
    codes = torch.round(x / scale) + zero
    inside = (codes >= low) & (codes <= high)
    rounded = (codes.clamp(low, high) - zero) * scale
    return torch.where(inside, x + (rounded - x).detach(), rounded.detach())


per_row = torch.tensor([0.1, 0.02, 0.3], dtype=torch.float64)[:, None]
g.case("Quantise.tensor", lambda x: quantised(x, 0.02, 131, 0, 255), x=r("Quantise.tensor", 3, 7, scale=2))
g.case("Quantise.axis", lambda x: quantised(x, per_row, 0, -7, 7), x=r("Quantise.axis", 2, 3, 5))

# Matrix products
g.case("MatMul.deep", lambda a, b: a @ b, a=r("MatMul.deep", 2, 3, 4, 5), b=r("MatMul.b.deep", 2, 3, 5, 2))
for name, ta, tb, lead in [("plain", 0, 0, ()), ("ta", 1, 0, ()), ("tb", 0, 1, ()), ("both", 1, 1, ()),
                           ("batch", 0, 0, (3,)), ("batchTa", 1, 0, (3,)), ("batchTb", 0, 1, (3,)), ("batchBoth", 1, 1, (3,))]:
    def product(a, b, ta=ta, tb=tb):
        return (a.transpose(-1, -2) if ta else a) @ (b.transpose(-1, -2) if tb else b)
    g.case("MatMul." + name, product,
           a=r("MatMul" + name, *lead, *((5, 4) if ta else (4, 5))), b=r("MatMul.b" + name, *lead, *((3, 5) if tb else (5, 3))))

# Reductions
x = r("reduce", 2, 3, 4, 5)
for name, f in [("Sum", torch.sum), ("Mean", torch.mean), ("Max", torch.amax)]:
    g.case(f"{name}.all", lambda x, f=f: f(x, dim=(0, 1, 2, 3)), x=x)
    g.case(f"{name}.last", lambda x, f=f: f(x, dim=-1), x=x)
    g.case(f"{name}.first", lambda x, f=f: f(x, dim=0), x=x)
    g.case(f"{name}.plane", lambda x, f=f: f(x, dim=(2, 3), keepdim=True), x=x)
    g.case(f"{name}.apart", lambda x, f=f: f(x, dim=(0, 2)), x=x)

g.case("Softmax.matrix", lambda x: fn.softmax(x, -1), x=r("Softmax", 4, 9, scale=3))
g.case("Softmax.cube", lambda x: fn.softmax(x, -1), x=r("Softmax3", 2, 3, 5))
g.case("LogSoftmax", lambda x: fn.log_softmax(x, -1), x=r("LogSoftmax", 4, 9, scale=3))
labels = torch.tensor([2, 0, 6, 3, 2])
weights = torch.tensor([0.5, 0.0, 2.0, 1.0, -1.0], dtype=torch.double)
z = r("CrossEntropy", 5, 7, scale=3)
q = fn.softmax(r("CrossEntropy.q", 5, 7), -1)
g.case("CrossEntropy.labels", lambda z: fn.cross_entropy(z, labels), z=z)
g.case("CrossEntropy.smoothed", lambda z: fn.cross_entropy(z, labels, label_smoothing=0.1), z=z)
g.case("CrossEntropy.weighted",
       lambda z: (fn.cross_entropy(z, labels, label_smoothing=0.1, reduction="none") * weights).mean(), z=z)
g.case("CrossEntropy.soft", lambda z, q: fn.cross_entropy(z, q), constants=["q"], z=z, q=q)
g.case("CrossEntropy.softWeighted",
       lambda z, q: (fn.cross_entropy(z, q, reduction="none") * weights).mean(), constants=["q"], z=z, q=q * 0.7)

t = r("KlDivergence.t", 5, 7, scale=3)
g.case("KlDivergence", lambda s, t: fn.kl_div(fn.log_softmax(s / 2.5, -1), fn.softmax(t / 2.5, -1), reduction="batchmean"),
       constants=["t"], s=z, t=t)
g.case("Mse", lambda x, target: fn.mse_loss(x, target), x=z, target=t)

# Moving data
g.case("Concat.rows", lambda a, b, c: torch.cat([a, b, c], 0), a=r("cat", 2, 3), b=r("catb", 1, 3), c=r("catc", 4, 3))
g.case("Concat.middle", lambda a, b: torch.cat([a, b], 1), a=r("cat1", 2, 3, 4), b=r("cat1b", 2, 2, 4))
g.case("Concat.last", lambda a, b: torch.cat([a, b], -1), a=r("cat2", 2, 3, 4), b=r("cat2b", 2, 3, 1))
g.case("Slice.rows", lambda x: x[1:3], x=r("slice", 4, 3))
g.case("Slice.middle", lambda x: x[:, 2:5], x=r("slice1", 2, 6, 3))
g.case("Slice.last", lambda x: x[..., :2], x=r("slice2", 2, 3, 5))
g.case("Reshape", lambda x: x.reshape(2, 12), x=r("reshape", 2, 3, 4))
for name, axes, shape in [("matrix", (1, 0), (7, 11)), ("nchwToNhwc", (0, 2, 3, 1), (2, 3, 4, 5)), ("reverse", (3, 2, 1, 0), (2, 3, 4, 5)),
                          ("heads", (0, 2, 1, 3), (2, 3, 4, 5)), ("swapLast", (0, 2, 1), (3, 6, 5)), ("swapFirst", (1, 0, 2), (3, 6, 5))]:
    g.case("Permute." + name, lambda x, axes=axes: x.permute(axes).contiguous(), x=r("Permute" + name, *shape))
g.case("Pad.plane", lambda x: fn.pad(x, (1, 2, 0, 3), value=0.5), x=r("pad", 2, 2, 3, 4))
g.case("Pad.channels", lambda x: fn.pad(x, (0, 0, 0, 0, 2, 1)), x=r("padc", 2, 2, 3, 4))
index = torch.tensor([4, 0, 0, 2, 4, 4])
g.case("GatherRows", lambda x: x[index], x=r("gather", 5, 3))

g.save("ops.safetensors")
