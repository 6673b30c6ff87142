#!/usr/bin/env python3
"""Golden values of vision transformers under the names of their authors: timm's variants, DINOv2 (Meta's names, timm's, Hugging Face's),
SigLIP's image tower, MAE. Weights and images are said by formulas; the file holds names, shapes and outputs. Each
forward pass reads the state dict of its layout and is written from the papers and the layout's own code. In double precision.

    /usr/bin/python3 tests/goldens/make_backbones.py
"""
import json
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

OUTPUT = Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/Backbones/backbones.json"
D, HEADS, HIDDEN, PATCH, IMAGE, BLOCKS, CLASSES, REG = 24, 3, 32, 4, 16, 2, 5, 3
N = (IMAGE // PATCH) ** 2


def linear(name, out, read):
    return [(name + ".weight", (out, read)), (name + ".bias", (out,))]


def norm(name, width=D):
    return [(name + ".weight", (width,)), (name + ".bias", (width,))]


def timm(positions=N + 1, cls=True, reg=None, ls=None, qk=False, bias=True, pre=False, fc_norm=False, logits=False, head=D, mlp="fc", pool=False, extra=()):
    s = [("cls_token", (1, 1, D))] if cls else []
    s += [(reg, (1, REG, D))] if reg else []
    s += [("pos_embed", (1, positions, D)), ("patch_embed.proj.weight", (D, 3, PATCH, PATCH))]
    s += norm("norm_pre") if pre else [("patch_embed.proj.bias", (D,))]
    for i in range(BLOCKS):
        b = f"blocks.{i}."
        qkv = linear(b + "attn.qkv", 3 * D, D)
        s += norm(b + "norm1") + (qkv if bias else qkv[:1]) + linear(b + "attn.proj", D, D) + norm(b + "norm2")
        s += norm(b + "attn.q_norm", D // HEADS) + norm(b + "attn.k_norm", D // HEADS) if qk else []
        up, down = ("w12", "w3") if mlp == "w12" else ("fc1", "fc2")
        s += linear(f"{b}mlp.{up}", HIDDEN if mlp == "fc" else 2 * HIDDEN, D) + linear(f"{b}mlp.{down}", D, HIDDEN)
        s += [(b + n, (D,)) for n in ls] if ls else []
    s += norm("fc_norm" if fc_norm else "norm") + (linear("pre_logits.fc", D, D) if logits else [])
    if pool:
        s += [("attn_pool.latent", (1, 1, D))] + linear("attn_pool.q", D, D) + linear("attn_pool.kv", 2 * D, D) + linear("attn_pool.proj", D, D)
        s += norm("attn_pool.norm") + linear("attn_pool.mlp.fc1", HIDDEN, D) + linear("attn_pool.mlp.fc2", D, HIDDEN)
    return s + (linear("head", CLASSES, head) if head else []) + list(extra)


def hugging_face(dino=False, reg=False, gated=False, head=0, before="", extra=()):
    e = before + "embeddings."
    s = [(e + "cls_token", (1, 1, D))] + ([(e + "mask_token", (1, D))] if dino else []) + ([(e + "register_tokens", (1, REG, D))] if reg else [])
    s += [(e + "position_embeddings", (1, N + 1, D)), (e + "patch_embeddings.projection.weight", (D, 3, PATCH, PATCH)),
          (e + "patch_embeddings.projection.bias", (D,))]
    for i in range(BLOCKS):
        b = f"{before}encoder.layer.{i}."
        for q in ("query", "key", "value"):
            s += linear(f"{b}attention.attention.{q}", D, D)
        s += linear(b + "attention.output.dense", D, D)
        if not dino:
            s += norm(b + "layernorm_before") + norm(b + "layernorm_after") + linear(b + "intermediate.dense", HIDDEN, D)
            s += linear(b + "output.dense", D, HIDDEN)
            continue
        s += norm(b + "norm1") + norm(b + "norm2") + [(b + "layer_scale1.lambda1", (D,)), (b + "layer_scale2.lambda1", (D,))]
        s += linear(b + "mlp.weights_in", 2 * HIDDEN, D) + linear(b + "mlp.weights_out", D, HIDDEN) if gated else \
            linear(b + "mlp.fc1", HIDDEN, D) + linear(b + "mlp.fc2", D, HIDDEN)
    return s + norm(before + "layernorm") + (linear("classifier", CLASSES, head) if head else []) + list(extra)


def siglip(classifier=False):
    v = "vision_model."
    s = [(v + "embeddings.patch_embedding.weight", (D, 3, PATCH, PATCH)), (v + "embeddings.patch_embedding.bias", (D,)),
         (v + "embeddings.position_embedding.weight", (N, D))]
    for i in range(BLOCKS):
        b = f"{v}encoder.layers.{i}."
        for q in ("k_proj", "v_proj", "q_proj", "out_proj"):
            s += linear(f"{b}self_attn.{q}", D, D)
        s += norm(b + "layer_norm1") + norm(b + "layer_norm2") + linear(b + "mlp.fc1", HIDDEN, D) + linear(b + "mlp.fc2", D, HIDDEN)
    h = v + "head."
    s += norm(v + "post_layernorm") + [(h + "probe", (1, 1, D)), (h + "attention.in_proj_weight", (3 * D, D)), (h + "attention.in_proj_bias", (3 * D,))]
    s += linear(h + "attention.out_proj", D, D) + norm(h + "layernorm") + linear(h + "mlp.fc1", HIDDEN, D) + linear(h + "mlp.fc2", D, HIDDEN)
    if classifier:
        return s + linear("classifier", CLASSES, D)
    return s + [("text_model.embeddings.token_embedding.weight", (7, D)), ("logit_scale", (1,)), ("logit_bias", (1,))]


def scrambled(t, count):
    """count numbers of -1 to 1 that look random, the same in any language: a hash of place i of tensor t."""
    h = np.arange(count, dtype=np.uint32) + np.uint32(t * 7919 + 1)
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        h = (h ^ (h >> np.uint32(shift))) * np.uint32(factor)
    return (h ^ (h >> np.uint32(16))).astype(np.float64) / 2 ** 31 - 1


def weights(shapes):
    result = {}
    for t, (name, shape) in enumerate(shapes):
        a = 2.5 / np.sqrt(np.prod(shape[1:])) if len(shape) > 1 else 0.4
        a = 1 if len(shape) == 3 else a
        values = a * scrambled(t, int(np.prod(shape))) + (1 if name.endswith("weight") and len(shape) == 1 else 0)
        result[name] = torch.from_numpy(values.astype(np.float32).astype(np.float64)).reshape(shape)
    return result


def images(size):
    return torch.from_numpy((2 * scrambled(1000, 2 * 3 * size * size)).astype(np.float32).astype(np.float64)).reshape(2, 3, size, size)


class Net:
    def __init__(self, shapes, eps, act):
        self.p, self.eps, self.act = weights(shapes), eps, act

    def lin(self, n, x):
        return F.linear(x, self.p[n + ".weight"], self.p.get(n + ".bias"))

    def norm(self, n, x):
        return F.layer_norm(x, (x.shape[-1],), self.p[n + ".weight"], self.p[n + ".bias"], self.eps)

    def patches(self, n, x):
        return F.conv2d(x, self.p[n + ".weight"], self.p.get(n + ".bias"), PATCH).flatten(2).transpose(1, 2)

    def attention(self, q, k, v):
        q, k, v = (t.unflatten(-1, (HEADS, D // HEADS)).transpose(1, 2) for t in (q, k, v))
        return (torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(D // HEADS), -1) @ v).transpose(1, 2).flatten(2)

    def grid(self, pos, front, size, kind):
        """Positions for images of another size, as each author's code stretches them."""
        g, n = IMAGE // PATCH, size // PATCH
        if g == n:
            return pos
        grid = pos[:, front:].reshape(1, g, g, D).permute(0, 3, 1, 2)
        how = dict(offset=dict(scale_factor=(n + 0.1) / g), antialias=dict(size=(n, n), antialias=True),
                   half=dict(size=(n, n)), corners=dict(size=(n, n), align_corners=True))[kind]
        grid = F.interpolate(grid, mode="bicubic", **how)
        return torch.cat([pos[:, :front], grid.permute(0, 2, 3, 1).reshape(1, n * n, D)], 1)


class Timm(Net):
    def forward(self, x, kind):
        p, size, many = self.p, x.shape[-1], len(x)
        x = self.patches("patch_embed.proj", x)
        cls = [p["cls_token"].expand(many, -1, -1)] if "cls_token" in p else []
        pos = p["pos_embed"]
        if "register_tokens" in p:       # DINOv2: the class token and the patches have positions
            x = torch.cat(cls + [x], 1) + self.grid(pos, 1, size, kind)
            x = torch.cat([x[:, :1], p["register_tokens"].expand(many, -1, -1), x[:, 1:]], 1)
        else:
            front = cls + ([p["reg_token"].expand(many, -1, -1)] if "reg_token" in p else [])
            count = sum(t.shape[1] for t in front)
            if pos.shape[1] == N:
                x = torch.cat(front + [x + self.grid(pos, 0, size, kind)], 1)
            else:
                x = torch.cat(front + [x], 1) + self.grid(pos, count, size, kind)
        front = x.shape[1] - (size // PATCH) ** 2
        x = self.norm("norm_pre", x) if "norm_pre.weight" in p else x
        for i in range(BLOCKS):
            b = f"blocks.{i}."
            q, k, v = self.lin(b + "attn.qkv", self.norm(b + "norm1", x)).chunk(3, -1)
            if b + "attn.q_norm.weight" in p:
                q, k = (self.norm(f"{b}attn.{n}_norm", t.unflatten(-1, (HEADS, -1))).flatten(2) for n, t in (("q", q), ("k", k)))
            y = self.lin(b + "attn.proj", self.attention(q, k, v))
            gammas = [n for n in p if n.startswith(b) and "gamma" in n]
            x = x + (y * p[gammas[0]] if gammas else y)
            y = self.norm(b + "norm2", x)
            if b + "mlp.w12.weight" in p or p[b + "mlp.fc1.weight"].shape[0] == 2 * HIDDEN:
                up, down = ("w12", "w3") if b + "mlp.w12.weight" in p else ("fc1", "fc2")
                one, two = self.lin(f"{b}mlp.{up}", y).chunk(2, -1)
                y = self.lin(f"{b}mlp.{down}", F.silu(one) * two)
            else:
                y = self.lin(b + "mlp.fc2", self.act(self.lin(b + "mlp.fc1", y)))
            x = x + (y * p[gammas[1]] if gammas else y)
        if "fc_norm.weight" in p:
            x = self.norm("fc_norm", x[:, front:].mean(1))
        else:
            x = self.norm("norm", x)
            if "attn_pool.latent" in p:
                k, v = self.lin("attn_pool.kv", x).chunk(2, -1)
                y = self.lin("attn_pool.proj", self.attention(self.lin("attn_pool.q", p["attn_pool.latent"].expand(many, -1, -1)), k, v))
                y = y + self.lin("attn_pool.mlp.fc2", self.act(self.lin("attn_pool.mlp.fc1", self.norm("attn_pool.norm", y))))
                x = y[:, 0]
            elif "cls_token" not in p:
                x = x.mean(1)
            elif "head.weight" in p and p["head.weight"].shape[1] == 2 * D:
                x = torch.cat([x[:, 0], x[:, front:].mean(1)], 1)
            else:
                x = x[:, 0]
        if "pre_logits.fc.weight" in p:
            x = torch.tanh(self.lin("pre_logits.fc", x))
        return self.lin("head", x) if "head.weight" in p else x


class HuggingFace(Net):
    def forward(self, x, kind):
        p, size, many = self.p, x.shape[-1], len(x)
        before = next(n for n in p if n.endswith("embeddings.cls_token"))[:-len("embeddings.cls_token")]
        e = before + "embeddings."
        x = torch.cat([p[e + "cls_token"].expand(many, -1, -1), self.patches(e + "patch_embeddings.projection", x)], 1)
        x = x + self.grid(p[e + "position_embeddings"], 1, size, kind)
        if e + "register_tokens" in p:
            x = torch.cat([x[:, :1], p[e + "register_tokens"].expand(many, -1, -1), x[:, 1:]], 1)
        front = x.shape[1] - (size // PATCH) ** 2
        for i in range(BLOCKS):
            b = f"{before}encoder.layer.{i}."
            dino = b + "norm1.weight" in p
            y = self.norm(b + ("norm1" if dino else "layernorm_before"), x)
            y = self.attention(*(self.lin(f"{b}attention.attention.{n}", y) for n in ("query", "key", "value")))
            y = self.lin(b + "attention.output.dense", y)
            x = x + (y * p[b + "layer_scale1.lambda1"] if dino else y)
            y = self.norm(b + ("norm2" if dino else "layernorm_after"), x)
            if b + "mlp.weights_in.weight" in p:
                one, two = self.lin(b + "mlp.weights_in", y).chunk(2, -1)
                y = self.lin(b + "mlp.weights_out", F.silu(one) * two)
            elif dino:
                y = self.lin(b + "mlp.fc2", self.act(self.lin(b + "mlp.fc1", y)))
            else:
                y = self.lin(b + "output.dense", self.act(self.lin(b + "intermediate.dense", y)))
            x = x + (y * p[b + "layer_scale2.lambda1"] if dino else y)
        x = self.norm(before + "layernorm", x)
        if "classifier.weight" not in p:
            return x[:, 0]
        return self.lin("classifier", torch.cat([x[:, 0], x[:, front:].mean(1)], 1) if p["classifier.weight"].shape[1] == 2 * D else x[:, 0])


class Siglip(Net):
    def forward(self, x, kind):
        p, size, many, v, h = self.p, x.shape[-1], len(x), "vision_model.", "vision_model.head."
        x = self.patches(v + "embeddings.patch_embedding", x) + self.grid(p[v + "embeddings.position_embedding.weight"][None], 0, size, kind)
        for i in range(BLOCKS):
            b = f"{v}encoder.layers.{i}."
            y = self.norm(b + "layer_norm1", x)
            x = x + self.lin(b + "self_attn.out_proj", self.attention(*(self.lin(f"{b}self_attn.{n}_proj", y) for n in "qkv")))
            x = x + self.lin(b + "mlp.fc2", self.act(self.lin(b + "mlp.fc1", self.norm(b + "layer_norm2", x))))
        x = self.norm(v + "post_layernorm", x)
        if "classifier.weight" in p:
            return self.lin("classifier", x.mean(1))
        attention = torch.nn.MultiheadAttention(D, HEADS, batch_first=True).double()
        attention.load_state_dict({k: p[f"{h}attention.{k}"] for k in attention.state_dict()})
        y = attention(p[h + "probe"].expand(many, -1, -1), x, x)[0]
        return (y + self.lin(h + "mlp.fc2", self.act(self.lin(h + "mlp.fc1", self.norm(h + "layernorm", y)))))[:, 0]


def tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3)))


GAMMA, DEIT3 = ("ls1.gamma", "ls2.gamma"), ("gamma_1", "gamma_2")
MASK = [("mask_token", (1, D))]
DECODER = [("decoder_pos_embed", (1, N + 1, 8)), *linear("decoder_embed", 8, D), *norm("decoder_blocks.0.norm1", 8), *norm("decoder_norm", 8),
           *linear("decoder_pred", 48, 8), ("mask_token", (1, 1, 8))]
CASES = {     # name: class, shapes, epsilon of the norms, activation, how positions are stretched
    "layer_scale": (Timm, timm(ls=GAMMA), 1e-6, F.gelu, "antialias"),
    "deit3": (Timm, timm(positions=N, ls=DEIT3), 1e-6, F.gelu, "antialias"),
    "fc_norm": (Timm, timm(fc_norm=True), 1e-6, F.gelu, "antialias"),
    "no_qkv_bias": (Timm, timm(bias=False), 1e-6, F.gelu, "antialias"),
    "norm_pre": (Timm, timm(pre=True), 1e-5, F.gelu, "antialias"),
    "norm_pre_biased": (Timm, timm(pre=True, extra=[("patch_embed.proj.bias", (D,))]), 1e-6, F.gelu, "antialias"),
    "qk_norm": (Timm, timm(qk=True), 1e-6, F.gelu, "antialias"),
    "pre_logits": (Timm, timm(logits=True), 1e-6, F.gelu, "antialias"),
    "no_embed_class": (Timm, timm(positions=N), 1e-6, F.gelu, "antialias"),
    "registers": (Timm, timm(positions=N + 1 + REG, reg="reg_token"), 1e-6, F.gelu, "antialias"),
    "reg_no_embed_class": (Timm, timm(positions=N, reg="reg_token"), 1e-6, F.gelu, "antialias"),
    "no_class_token": (Timm, timm(positions=N, cls=False), 1e-6, F.gelu, "antialias"),
    "dinov2": (Timm, timm(ls=GAMMA, head=0, extra=MASK), 1e-6, F.gelu, "offset"),
    "dinov2_timm": (Timm, timm(ls=GAMMA, head=0), 1e-6, F.gelu, "antialias"),
    "dinov2_registers": (Timm, timm(ls=GAMMA, head=0, reg="register_tokens", extra=MASK), 1e-6, F.gelu, "antialias"),
    "dinov2_giant": (Timm, timm(ls=GAMMA, head=0, mlp="w12", extra=MASK), 1e-6, F.gelu, "offset"),
    "dinov2_giant_timm": (Timm, timm(ls=GAMMA, head=0, mlp="packed"), 1e-6, F.gelu, "antialias"),
    "dinov2_classifier": (Timm, timm(ls=GAMMA, head=2 * D), 1e-6, F.gelu, "antialias"),
    "dinov2_hf": (HuggingFace, hugging_face(dino=True), 1e-6, F.gelu, "half"),
    "dinov2_hf_registers": (HuggingFace, hugging_face(dino=True, reg=True), 1e-6, F.gelu, "half"),
    "dinov2_hf_giant": (HuggingFace, hugging_face(dino=True, gated=True), 1e-6, F.gelu, "half"),
    "dinov2_hf_classifier": (HuggingFace, hugging_face(dino=True, head=2 * D, before="dinov2."), 1e-6, F.gelu, "half"),
    "mae": (Timm, timm(head=0, extra=DECODER), 1e-6, F.gelu, "half"),
    "mae_hf": (HuggingFace, hugging_face(before="vit.", extra=[("decoder." + n, s) for n, s in DECODER]), 1e-12, F.gelu, "half"),
    "siglip": (Siglip, siglip(), 1e-6, tanh, "half"),
    "siglip_classifier": (Siglip, siglip(classifier=True), 1e-6, tanh, "half"),
    "siglip_timm": (Timm, timm(positions=N, cls=False, head=0, pool=True), 1e-6, F.gelu, "antialias"),
}


def numbers(t):
    return [float(f"{x:.7g}") for x in t.detach().numpy().ravel()]


if __name__ == "__main__":
    golden = {}
    with torch.no_grad():
        for name, (kind, shapes, eps, act, resize) in CASES.items():
            net = kind(shapes, eps, act)
            small, large = net.forward(images(IMAGE), resize), net.forward(images(24), resize)
            golden[name] = {"shapes": {n: list(s) for n, s in shapes}, "output": numbers(small), "larger": numbers(large)}
            print(f"{name:22} {small.abs().mean():.3f} {(small[0] - small[1]).abs().mean():.3f} {large.abs().mean():.3f}")
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(golden) + "\n")
