"""Golden values of all ops but convolutions. Run in this folder with PyTorch 1.13; writes ops.safetensors."""
import torch
import torch.nn.functional as fn

from golden import Golden

g = Golden()
r = g.rand

# Broadcasting arithmetic
for name, f in [("Add", torch.add)]:
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
g.case("Softmax.matrix", lambda x: fn.softmax(x, -1), x=r("Softmax", 4, 9, scale=3))
g.case("Softmax.cube", lambda x: fn.softmax(x, -1), x=r("Softmax3", 2, 3, 5))
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

# Moving data
g.case("Concat.rows", lambda a, b, c: torch.cat([a, b, c], 0), a=r("cat", 2, 3), b=r("catb", 1, 3), c=r("catc", 4, 3))
g.case("Concat.middle", lambda a, b: torch.cat([a, b], 1), a=r("cat1", 2, 3, 4), b=r("cat1b", 2, 2, 4))
g.case("Concat.last", lambda a, b: torch.cat([a, b], -1), a=r("cat2", 2, 3, 4), b=r("cat2b", 2, 3, 1))

g.save("ops.safetensors")
