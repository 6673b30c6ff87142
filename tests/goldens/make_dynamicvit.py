#!/usr/bin/env python3
"""Golden values of DynamicViT (arXiv 2106.02034): four steps of training with predictors in front of both blocks of a small vision
transformer, once with dropped tokens hidden from attention and once without them, each from the paper and its code's conventions.

    /usr/bin/python3 tests/goldens/make_dynamicvit.py
"""
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F

import tiny_vit as vit

OUTPUT = Path(__file__).resolve().parents[1] / "Espalier.Tests/Goldens/DynamicVit"
STEPS, RATE, BACKBONE, FROZEN, KEEP, STAGES = 4, 0.05, 0.5, 1, 0.7, 2
D, T, HEADS = vit.D, vit.TOKENS, vit.HEADS
NORM, E = "transformer.encoder.encoder_norm", "transformer.embeddings."
SHAPES = {"in_conv.0": (D,), "in_conv.1": (D, D), "out_conv.0": (D // 2, D), "out_conv.2": (D // 4, D // 2), "out_conv.4": (2, D // 4)}


def predictor_weights():
    """Element i of tensor t is 0.5 sin(0.37 i + 1.3 t), that of a norm's weight 1 more."""
    result, t = {}, 0
    for s in range(STAGES):
        for layer, shape in SHAPES.items():
            for kind in ("weight", "bias"):
                size = shape if kind == "weight" else shape[:1]
                i = torch.arange(math.prod(size)).double()
                values = 0.5 * torch.sin(0.37 * i + 1.3 * t) + (1 if layer == "in_conv.0" and kind == "weight" else 0)
                result[f"score_predictor.{s}.{layer}.{kind}"] = vit.single(values.numpy()).reshape(size).clone().requires_grad_()
                t += 1
    return result


def noise(step, stage, rows):
    return vit.single(2.5 * torch.sin(1.7 * torch.arange(rows).double() + 0.9 * stage + 3.1 * step).numpy())


def logits(p, s, x, mask):
    """x [n, D] and mask [n] of an image's tokens without the class token: log p(keep) - log p(drop) [n]. With the class token's row in
    front of both where it is to have one, too."""
    n = f"score_predictor.{s}."
    linear = lambda y, layer: F.linear(y, p[n + layer + ".weight"], p[n + layer + ".bias"])
    z = F.gelu(linear(F.layer_norm(x, (D,), p[n + "in_conv.0.weight"], p[n + "in_conv.0.bias"], 1e-5), "in_conv.1"))
    local, rest = z[:, :D // 2], z[:, D // 2:]
    shared = (rest * mask[:, None]).sum(0) / mask.sum().clamp(min=0.5)
    u = torch.cat([local, shared.expand(len(x), -1)], 1)
    return torch.log_softmax(linear(F.gelu(linear(F.gelu(linear(u, "out_conv.0")), "out_conv.2")), "out_conv.4"), 1) @ \
        torch.tensor([1.0, -1.0]).double()


def decide(p, s, x, mask, drawn):
    """Straight-through: hard decisions, the gradient of the soft ones; the class token always stays."""
    soft = torch.sigmoid(logits(p, s, x[1:], mask[1:]) + drawn[1:])
    hard = (soft >= 0.5).double()
    return torch.cat([torch.ones(1).double(), (hard - soft).detach() + soft]) * mask


def masked_attention(q, k, v, mask):
    a = q @ k.transpose(-1, -2) / (D // HEADS) ** 0.5
    seen = mask[None].expand(len(mask), -1) * (1 - torch.eye(len(mask))) + torch.eye(len(mask))
    e = (a - a.max(-1, keepdim=True).values).exp() * seen
    return (e + 1e-6 / len(mask)) / (e.sum(-1, keepdim=True) + 1e-6) @ v


def packed_attention(q, k, v, mask):
    return torch.softmax(q @ k.transpose(-1, -2) / (D // HEADS) ** 0.5 + mask.log(), -1) @ v


def plain_attention(q, k, v, mask):
    return torch.softmax(q @ k.transpose(-1, -2) / (D // HEADS) ** 0.5, -1) @ v


def block(p, b, x, mask, attend):
    n = f"{vit.LAYERS}{b}."
    linear = lambda y, layer: F.linear(y, p[n + layer + ".weight"], p[n + layer + ".bias"])
    norm = lambda y, layer: F.layer_norm(y, (D,), p[n + layer + ".weight"], p[n + layer + ".bias"], 1e-6)
    q, k, v = (linear(norm(x, "attention_norm"), "attn." + w).view(len(x), HEADS, -1).transpose(0, 1) for w in ("query", "key", "value"))
    x = x + linear(attend(q, k, v, mask).transpose(0, 1).reshape(len(x), D), "attn.out")
    return x + linear(F.gelu(linear(norm(x, "ffn_norm"), "ffn.fc1")), "ffn.fc2")


def forward(p, images, step=None, packed=False):
    """Logits [B, K]; of each image its tokens behind the last norm, which tokens they are, and the masks of the stages."""
    rows = F.conv2d(images, p[E + "patch_embeddings.weight"], p[E + "patch_embeddings.bias"], stride=4).flatten(2).transpose(1, 2)
    x = [torch.cat([p[E + "cls_token"][0], r]) + p[E + "position_embeddings"][0] for r in rows]
    mask, tokens = [torch.ones(T).double() for _ in x], [torch.arange(T) for _ in x]
    masks = []
    for b in range(vit.BLOCKS):
        attend = plain_attention
        if step is not None:
            attend = packed_attention if packed else masked_attention
            drawn, at = noise(step, b, sum(map(len, x))), 0
            for i in range(len(x)):
                mask[i] = decide(p, b, x[i], mask[i], drawn[at:at + len(x[i])])
                at += len(x[i])
            masks.append(list(mask))
            if packed:
                for i in range(len(x)):
                    stays = mask[i] > 0.5
                    x[i], mask[i], tokens[i] = x[i][stays], mask[i][stays], tokens[i][stays]
        x = [block(p, b, x[i], mask[i], attend) for i in range(len(x))]
    out = [F.layer_norm(y, (D,), p[NORM + ".weight"], p[NORM + ".bias"], 1e-6) for y in x]
    return F.linear(torch.stack([y[0] for y in out]), p["head.weight"], p["head.bias"]), out, tokens, masks


def train(packed):
    p = {**vit.weights(), **predictor_weights()}
    teacher = {k: v.detach().clone() for k, v in p.items()}
    fixed = (E + "cls_token", E + "position_embeddings")
    group = lambda name: (name.startswith("score_predictor"), name in fixed, p[name].dim() == 1)
    groups = [{"params": [p[n] for n in p if group(n) == key], "lr": RATE, "weight_decay": 0 if key[2] else 0.01, "key": key}
              for key in {group(n) for n in p}]
    optimizer = torch.optim.SGD(groups, lr=RATE, momentum=0.9)
    losses, kept = [], []
    for step in range(STEPS):
        for g in optimizer.param_groups:
            g["lr"] = RATE * (1 if g["key"][0] else 0 if g["key"][1] or step < FROZEN else BACKBONE)
        x, y = vit.batch(step)
        out, rows, tokens, masks = forward(p, x, step, packed)
        with torch.no_grad():
            wanted, wanted_rows, _, _ = forward(teacher, x)
        loss = F.cross_entropy(out, y) + 0.5 * F.kl_div(out.log_softmax(1), wanted.log_softmax(1), reduction="batchmean", log_target=True)
        for s in range(STAGES):
            ratio = torch.stack([m[1:].sum() / (T - 1) for m in masks[s]])
            loss = loss + 2 / STAGES * ((ratio - KEEP ** (s + 1)) ** 2).mean()
        differences = []
        for i in range(len(x)):
            for j, token in enumerate(tokens[i]):
                if token > 0 and (packed or masks[-1][i][j] > 0.5):
                    differences.append((rows[i][j] - wanted_rows[i][token]) ** 2)
        if differences:
            loss = loss + 0.5 * torch.stack(differences).mean()
        losses.append(loss.item())
        kept.append([sum(round(m[1:].sum().item()) for m in stage) for stage in masks])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(packed, losses, kept)
    checked = [vit.LAYERS + "0.attn.query.weight", vit.LAYERS + "1.ffn.fc2.weight", "head.weight", E + "cls_token",
               "score_predictor.0.in_conv.1.weight", "score_predictor.0.out_conv.4.weight", "score_predictor.1.in_conv.0.weight",
               "score_predictor.1.out_conv.0.weight"]
    return {"losses": losses, "kept": kept, "weights": {n: vit.numbers(p[n]) for n in checked}}


OUTPUT.mkdir(parents=True, exist_ok=True)
(OUTPUT / "steps.json").write_text(json.dumps({
    "names": [name for name, _ in vit.shapes()], "masked": train(False), "packed": train(True)}, separators=(",", ":")) + "\n")
