"""Golden values of token reduction without training: a small vision transformer in plain PyTorch, plain and distilled, its weights
under the PyTorch port's names, and what it gives where tokens are merged (ToMe), dropped or fused by class attention (EViT) or
sampled (ATS), each written from the papers and their authors' conventions, image by image, in double precision.
Run in this folder with PyTorch 1.13; writes ../Espalier.Tests/Goldens/Tokens/tokens.safetensors.
"""
import math
import pathlib

import torch
import torch.nn.functional as fn

from golden import Golden

TARGET = pathlib.Path(__file__).resolve().parent.parent / "Espalier.Tests" / "Goldens" / "Tokens"
D, HEADS, BLOCKS, MLP, PATCH, CLASSES, SIZE = 24, 3, 4, 32, 4, 5, 16
LAYER = "transformer.encoder.layer."


def weights(g, name, distilled):
    prefix, patches, e = (2 if distilled else 1), (SIZE // PATCH) ** 2, "transformer.embeddings."
    shapes = {e + "cls_token": (1, 1, D), e + "position_embeddings": (1, patches + prefix, D),
              e + "patch_embeddings.weight": (D, 1, PATCH, PATCH), e + "patch_embeddings.bias": (D,),
              "head.weight": (CLASSES, D), "head.bias": (CLASSES,)}
    if distilled:
        shapes |= {e + "dist_token": (1, 1, D), "head_dist.weight": (CLASSES, D), "head_dist.bias": (CLASSES,)}
    norms = ["transformer.encoder.encoder_norm"]
    for i in range(BLOCKS):
        for layer, outputs, inputs in [("attn.query", D, D), ("attn.key", D, D), ("attn.value", D, D), ("attn.out", D, D),
                                       ("ffn.fc1", MLP, D), ("ffn.fc2", D, MLP)]:
            shapes |= {f"{LAYER}{i}.{layer}.weight": (outputs, inputs), f"{LAYER}{i}.{layer}.bias": (outputs,)}
        norms += [f"{LAYER}{i}.attention_norm", f"{LAYER}{i}.ffn_norm"]
    w = {k: g.rand(f"{name}.{k}", *s, scale=0.4 if "query" in k or "key" in k else 0.25) for k, s in shapes.items()}
    for n in norms:
        w[n + ".weight"], w[n + ".bias"] = 1 + g.rand(f"{name}.{n}.w", D, scale=0.2), g.rand(f"{name}.{n}.b", D, scale=0.1)
    return w


class Vit:
    """One image at a time: x [T, D]. A hook may change attention's rows, and what goes from attention to the MLP."""

    def __init__(self, w):
        self.w = {k: v.double() for k, v in w.items()}

    def linear(self, name, x):
        return fn.linear(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def norm(self, name, x):
        return fn.layer_norm(x, (D,), self.w[name + ".weight"], self.w[name + ".bias"], 1e-6)

    def heads(self, name, x):
        return self.linear(name, x).unflatten(1, (HEADS, D // HEADS)).transpose(0, 1)

    def run(self, image, between=None, queries=None, bias=lambda i: 0):
        """between(i, x, attention, k) -> x; queries(i, attention, v) -> rows that stay, before attention is applied."""
        e = "transformer.embeddings."
        x = fn.unfold(image[None].double(), PATCH, stride=PATCH)[0].T @ self.w[e + "patch_embeddings.weight"].flatten(1).T
        x = x + self.w[e + "patch_embeddings.bias"]
        first = [self.w[e + t][0] for t in ("cls_token", "dist_token") if e + t in self.w]
        x = torch.cat(first + [x]) + self.w[e + "position_embeddings"][0]
        for i in range(BLOCKS):
            u = self.norm(f"{LAYER}{i}.attention_norm", x)
            q, k, v = (self.heads(f"{LAYER}{i}.attn.{n}", u) for n in ("query", "key", "value"))
            a = fn.softmax(q @ k.transpose(1, 2) / (D // HEADS) ** 0.5 + bias(i), -1)
            if queries:
                rows = queries(i, a, v)
                a, x = a[:, rows], x[rows]
            x = x + self.linear(f"{LAYER}{i}.attn.out", (a @ v).transpose(0, 1).flatten(1))
            if between:
                x = between(i, x, a, k)
            hidden = fn.gelu(self.linear(f"{LAYER}{i}.ffn.fc1", self.norm(f"{LAYER}{i}.ffn_norm", x)))
            x = x + self.linear(f"{LAYER}{i}.ffn.fc2", hidden)
        y = self.norm("transformer.encoder.encoder_norm", x)
        logits = self.linear("head", y[0])
        return (logits + self.linear("head_dist", y[1])) / 2 if "head_dist.weight" in self.w else logits


def tome(vit, image, counts, proportional, distilled):
    """Logits, and the sizes of the tokens behind each block but the last."""
    sizes = [torch.ones(vit.w["transformer.embeddings.position_embeddings"].shape[1], dtype=torch.double)]

    def between(i, x, _, k):
        s, protected = sizes[-1], 2 if distilled else 1
        r = min(counts[i], (len(x) - protected) // 2)
        if r > 0:
            metric = fn.normalize(k.mean(0), dim=-1)
            scores = metric[::2] @ metric[1::2].T
            scores[0] = -math.inf
            if distilled:
                scores[:, 0] = -math.inf
            best, to = scores.max(-1)
            order = best.argsort(descending=True, stable=True)
            src, stay = order[:r], order[r:].sort().values

            def merged(t):
                a, b = t[::2], t[1::2].clone()
                b.index_add_(0, to[src], a[src])
                a = a[stay]
                return torch.cat([a[:1], b[:1], a[1:], b[1:]] if distilled else [a, b])
            x = merged(x * s[:, None])
            s = merged(s)
            x = x / s[:, None]
        sizes.append(s)
        return x

    logits = vit.run(image, between, bias=lambda i: sizes[-1].log() if proportional else 0)
    return logits, sizes[1:-1]


def evit(vit, image, keep, blocks, fuse, distilled):
    """Logits, and the tokens that stay of each block that drops some, in rising order; a fused one goes under
    the name of the one that the class token attends to most."""
    prefix, kept = 2 if distilled else 1, []
    names = list(range(vit.w["transformer.embeddings.position_embeddings"].shape[1]))

    def between(i, x, a, _):
        nonlocal names
        if i not in blocks:
            return x
        share = a[:, 0].mean(0)[prefix:]
        count = math.ceil(keep * len(share))
        best = share.topk(count).indices.sort().values
        rest = torch.ones(len(share), dtype=torch.bool)
        rest[best] = False
        y = torch.cat([x[:prefix], x[prefix:][best]])
        before, names = names, names[:prefix] + [names[prefix + int(j)] for j in best]
        if fuse and rest.any():
            y = torch.cat([y, (x[prefix:] * share[:, None])[rest].sum(0, keepdim=True)])
            fused = prefix + int(share.masked_fill(~rest, -1).argmax())
            names = names + [before[fused]]
        kept.append(names)
        return y

    return vit.run(image, between), kept


def ats(vit, image, count, blocks, distilled):
    """Logits, and the tokens that stay of each block that samples."""
    prefix, kept = 2 if distilled else 1, []
    names = list(range(vit.w["transformer.embeddings.position_embeddings"].shape[1]))

    def queries(i, a, v):
        nonlocal names
        if i not in blocks:
            return torch.arange(a.shape[1])
        score = a[:, 0].sum(0) * v.transpose(0, 1).flatten(1).norm(dim=1)
        score = score[prefix:] / score[prefix:].sum()
        values, order = score.sort()
        curve = values.cumsum(0)
        curve = (curve - curve.min()) / (curve.max() - curve.min())
        start = curve[curve > 0].min()
        levels = start + (1 - start) / (count - 2) * torch.arange(count - 1)
        picks = order[(levels[:, None] - curve[None]).abs().argmin(1)].unique() + prefix
        rows = torch.cat([torch.arange(prefix), picks])
        names = [names[int(j)] for j in rows]
        kept.append(names)
        return rows

    return vit.run(image, queries=queries), kept


def main():
    TARGET.mkdir(parents=True, exist_ok=True)
    g = Golden()
    images = g.rand("images", 3, 1, SIZE, SIZE)
    g._put("images", images)
    for name, distilled in [("plain", False), ("distilled", True)]:
        w = weights(g, name, distilled)
        for k, v in w.items():
            g._put(f"{name}/weights/{k}", v)
        vit = Vit(w)

        def put(case, results):
            g._put(f"{name}/{case}/logits", torch.stack([logits for logits, _ in results]))
            for stage in range(len(results[0][1])):
                rows = [torch.as_tensor(r[1][stage]).double() for r in results]
                longest = max(len(r) for r in rows)
                g._put(f"{name}/{case}/stage{stage}", torch.stack([fn.pad(r, (0, longest - len(r)), value=-9) for r in rows]))

        put("whole", [(vit.run(i), []) for i in images])
        put("tome", [tome(vit, i, [3, 3, 3, 3], True, distilled) for i in images])
        put("tomeFalling", [tome(vit, i, [6, 4, 2, 0], True, distilled) for i in images])
        put("tomePlain", [tome(vit, i, [2, 2, 2, 2], False, distilled) for i in images])
        put("evit", [evit(vit, i, 0.6, [1, 2, 3], True, distilled) for i in images])
        put("topk", [evit(vit, i, 0.7, [0, 2], False, distilled) for i in images])
        put("ats", [ats(vit, i, 9, [1, 2, 3], distilled) for i in images])
    g.save(TARGET / "tokens.safetensors")


main()
