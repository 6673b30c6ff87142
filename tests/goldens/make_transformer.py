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


def attention(lengths, query_widths, value_widths, scale, queries=None, causal=False):
    """Each image for itself, head by head; q, k, v are [rows of all images, columns of all heads]. Biases are of keys [rows] or
    of heads and pairs [heads, T, T]; a key of mask 0 is hidden, and a query that sees no key gives zeros."""
    def run(q, k, v, bias=None, mask=None):
        out, q0, k0 = [], 0, 0
        for n, m in zip(lengths, queries or lengths):
            heads, qc, vc = [], 0, 0
            for h, (d, e) in enumerate(zip(query_widths, value_widths)):
                s = q[q0:q0 + m, qc:qc + d] @ k[k0:k0 + n, qc:qc + d].T * scale
                if bias is not None:
                    s = s + (bias[k0:k0 + n] if bias.dim() == 1 else bias[h, :m, :n])
                if causal:
                    s = s.masked_fill(torch.ones(m, n).triu(1) > 0, -torch.inf)
                if mask is not None:
                    s = s.masked_fill(mask[k0:k0 + n] == 0, -torch.inf)
                if mask is None or mask[k0:k0 + n].any():
                    heads.append(fn.softmax(s, -1) @ v[k0:k0 + n, vc:vc + e])
                else:
                    heads.append(torch.zeros(m, e))
                qc, vc = qc + d, vc + e
            out.append(torch.cat(heads, 1))
            q0, k0 = q0 + m, k0 + n
        return torch.cat(out)
    return run


for name, lengths, heads, width, scale in [("oneImage", [6], 1, 8, 0.35), ("ragged", [5, 1, 9, 2], 3, 12, 0.5),
                                           ("longer", [33, 17], 2, 32, 0.25)]:
    widths = [width // heads] * heads
    g.case("Attention." + name, attention(lengths, widths, widths, scale), **{t: r(name + t, sum(lengths), width) for t in "qkv"})


def rows(name, queries, keys, query_width, value_width):
    return dict(q=r(name + "q", queries, query_width), k=r(name + "k", keys, query_width), v=r(name + "v", keys, value_width))


g.case("Attention.wideValues", attention([5, 18], [3, 3], [7, 7], 0.6), **rows("wideValues", 23, 23, 6, 14))
g.case("Attention.unequalHeads", attention([7, 3], [4, 9, 1], [2, 5, 17], 0.5), **rows("unequalHeads", 10, 10, 14, 24))
g.case("Attention.fewerQueries", attention([19, 3], [8, 8], [8, 8], 0.4, [2, 1]), **rows("fewerQueries", 3, 22, 16, 16))
g.case("Attention.otherQueries", attention([6, 4], [5, 3], [2, 6], 0.4, [11, 1]), **rows("otherQueries", 12, 10, 8, 8))
g.case("Attention.causal", attention([9, 20], [4, 4], [4, 4], 0.5, causal=True), **rows("causal", 29, 29, 8, 8))
g.case("Attention.keyMask", attention([4, 6, 3], [4, 4], [4, 4], 0.5), constants=("mask",), **rows("keyMask", 13, 13, 8, 8),
       mask=torch.tensor([1., 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0]))
g.case("Attention.biasOfKeys", attention([4, 21], [4, 4], [4, 4], 0.5), **rows("biasOfKeys", 25, 25, 8, 8),
       bias=r("biasOfKeys.bias", 25, scale=2))
g.case("Attention.biasOfPairs", attention([17, 17, 17], [4, 2], [4, 3], 0.5), **rows("biasOfPairs", 51, 51, 6, 7),
       bias=r("biasOfPairs.bias", 2, 17, 17, scale=2))


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



def per_image(lengths, f):
    """f(image, rows of the image) of one image after another."""
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return [f(i, slice(s, s + n)) for i, (s, n) in enumerate(zip(starts, lengths))]


def class_attention(lengths, widths, scale):
    """How much the query of each image, one row, attends to the image's keys: the mean over the heads."""
    def run(q, k):
        def image(i, rows):
            heads = zip(q[i].split(widths), k[rows].split(widths, 1))
            return torch.stack([fn.softmax(b @ a * scale, -1) for a, b in heads]).mean(0)
        return torch.cat(per_image(lengths, image))
    return run


g.case("ClassAttention.uniform", class_attention([5, 9], [4, 4], 0.5), q=r("classUniform.q", 2, 8), k=r("classUniform.k", 14, 8))
g.case("ClassAttention.unequal", class_attention([3, 1, 7], [5, 2], 0.7), q=r("classUnequal.q", 3, 7), k=r("classUnequal.k", 11, 7))


def fused(lengths, share):
    """EViT: the class token, ceil(share * others) of the highest scores in their order, the sum of the others times their scores."""
    def run(x, score):
        def image(_, rows):
            y, a = x[rows][1:], score[rows][1:]
            keep = a.topk(-int(-share * len(a) // 1)).indices.sort().values
            rest = torch.ones(len(a), dtype=bool)
            rest[keep] = False
            return torch.cat([x[rows][:1], y[keep], (y * a[:, None])[rest].sum(0, keepdim=True)])
        return torch.cat(per_image(lengths, image))
    return run


g.case("KeepRows.fused", fused([7, 4], 0.5), x=r("fused.x", 11, 3), score=r("fused.s", 11, low=0.0))


def row_mean(lengths, prefix):
    """The mean of an image's rows behind those in front, on each of them."""
    return lambda x: torch.cat(per_image(lengths, lambda _, rows: x[rows][prefix:].mean(0).expand(rows.stop - rows.start, -1)))


g.case("RowMean.class", row_mean([5, 3], 1), x=r("rowMean.x", 8, 4))
g.case("RowMean.all", row_mean([4, 1, 6], 0), x=r("rowMean.x0", 11, 3))


def match(k, heads, count, distilled=False):
    """ToMe's bipartite soft matching of one image: places of its rows among those that are left."""
    metric = fn.normalize(k.unflatten(1, (heads, -1)).mean(1), dim=-1)
    scores = metric[::2] @ metric[1::2].T
    scores[0] = -torch.inf
    if distilled:
        scores[:, 0] = -torch.inf
    best, to = scores.max(-1)
    order = best.argsort(descending=True, stable=True)
    merged, stay = order[:count], order[count:].sort().values
    names = torch.arange(len(k))
    kept = torch.cat([stay[:1] * 2, names[1::2][:1], stay[1:] * 2, names[1::2][1:]]) if distilled \
        else torch.cat([stay * 2, names[1::2]])
    place = {int(row): float(i) for i, row in enumerate(kept)}
    for a in merged:
        place[int(a) * 2] = place[int(to[a]) * 2 + 1]
    return torch.tensor([place[i] for i in range(len(k))])


def merge(plan, left):
    """The mean by weights of what goes to one place, as a scatter."""
    def run(x, weights):
        index = plan.long()
        sums = torch.zeros(left, x.shape[1], dtype=x.dtype).index_add(0, index, x * weights[:, None])
        return sums / torch.zeros(left, dtype=x.dtype).index_add(0, index, weights)[:, None]
    return run


for name, tokens, heads, count, distilled in [("class", 13, 2, 4, False), ("most", 9, 1, 4, False), ("distilled", 12, 3, 3, True)]:
    keys = r("match.k" + name, tokens, 12)
    g.case("MatchRows." + name, lambda k: match(k.detach(), heads, count, distilled), constants=("k",), k=keys)
    plan = match(keys.double(), heads, count, distilled)
    g.case("MergeRows." + name, lambda x, weights, plan: merge(plan, tokens - count)(x, weights), constants=("plan",),
           x=r("merge.x" + name, tokens, 5), weights=r("merge.w" + name, tokens, low=0.5, scale=3), plan=plan)
g.case("RowsToMaps", lambda x: x.view(2, 8, 3)[:, 2:].transpose(1, 2).reshape(2, 3, 2, 3), x=r("maps.x", 16, 3))


def rows_of_maps(x, first):
    """[B, D, H, W] behind rows [B * P, D]."""
    images, width = x.shape[:2]
    return torch.cat([first.view(images, -1, width), x.flatten(2).transpose(1, 2)], 1).reshape(-1, width)


g.case("MapsToRows.first", rows_of_maps, x=r("maps.y", 2, 3, 2, 4), first=r("maps.first", 4, 3))
g.case("MapsToRows.zeros", lambda x: rows_of_maps(x, torch.zeros(3, 4, dtype=x.dtype)), x=r("maps.z", 3, 4, 3, 2))
g.case("RowNorm", lambda x: x.norm(dim=1), x=r("rowNorm", 4, 9))

g.save("transformer.safetensors")
