"""Golden values of the ops of a transformer. Run in this folder with PyTorch 1.13; writes transformer.safetensors."""
import torch
import torch.nn.functional as fn

from golden import Golden

g = Golden()
r = g.rand

linear = dict(x=r("linear.x", 5, 7), w=r("linear.w", 4, 7), b=r("linear.b", 4), res=r("linear.res", 5, 4))


def operands(*names):
    return {name: linear[name] for name in names}


g.case("Linear.plain", lambda x, w: fn.linear(x, w), **operands("x", "w"))
g.case("Linear.bias", lambda x, w, b: fn.linear(x, w, b), **operands("x", "w", "b"))
g.case("Linear.gelu", lambda x, w, b: fn.gelu(fn.linear(x, w, b)), **operands("x", "w", "b"))
g.case("Linear.residual", lambda x, w, b, res: fn.linear(x, w, b) + res, **operands("x", "w", "b", "res"))
g.case("Linear.all", lambda x, w, b, res: fn.gelu(fn.linear(x, w, b)) + res, **operands("x", "w", "b", "res"))

# An offset far from zero tells a two-pass variance from a difference of squares.
g.case("LayerNorm", lambda x, gamma, beta: fn.layer_norm(x, x.shape[-1:], gamma, beta, 1e-5),
       x=r("norm.x", 5, 19, scale=2) + 3, gamma=r("norm.g", 19), beta=r("norm.b", 19))


def attention(lengths, heads, scale):
    """Each image for itself; rows [sum(lengths), heads * d]."""
    def run(q, k, v):
        out, start = [], 0
        for n in lengths:
            a, b, c = (t[start:start + n].reshape(n, heads, -1).transpose(0, 1) for t in (q, k, v))
            out.append((fn.softmax(a @ b.transpose(1, 2) * scale, -1) @ c).transpose(0, 1).reshape(n, -1))
            start += n
        return torch.cat(out)
    return run


for name, lengths, heads, width, scale in [("oneImage", [6], 1, 8, 0.35), ("ragged", [5, 1, 9, 2], 3, 12, 0.5),
                                           ("longer", [33, 17], 2, 32, 0.25)]:
    g.case("Attention." + name, attention(lengths, heads, scale), **{t: r(name + t, sum(lengths), width) for t in "qkv"})


def assemble(patches, positions, classToken, second=None):
    """Prefix tokens in front of each image's patches, positions added; [images * tokens, D]."""
    prefix = [classToken] if second is None else [classToken, second]
    count = positions.shape[1] - len(prefix)
    rows = patches.reshape(-1, count, patches.shape[1])
    tokens = torch.cat([t.expand(rows.shape[0], -1, -1) for t in prefix] + [rows], 1)
    return (tokens + positions).reshape(-1, patches.shape[1])


g.case("AssembleTokens.class", assemble, patches=r("assemble.p", 8, 6), positions=r("assemble.pos", 1, 5, 6),
       classToken=r("assemble.cls", 1, 1, 6))
g.case("AssembleTokens.distilled", assemble, patches=r("assemble.p2", 6, 5), positions=r("assemble.pos2", 1, 5, 5),
       classToken=r("assemble.cls2", 1, 1, 5), second=r("assemble.dist2", 1, 1, 5))
g.case("PatchesToRows", lambda x: fn.unfold(x, 2, stride=2).transpose(1, 2).reshape(-1, 12), x=r("patches.x", 2, 3, 4, 6))

g.save("transformer.safetensors")
