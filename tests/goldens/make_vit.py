"""Golden values of published checkpoint layouts: small random vision transformers in plain PyTorch, their weights written as
Google's .npz (three families of names), as a DeiT / timm state dict and as the PyTorch port's .bin, and the logits that they
give. Run anywhere with PyTorch 1.13 and numpy; writes ../Espalier.Tests/Goldens/Vit/.

The forward pass is written from the papers (arXiv 2010.11929, 2012.12877) with one tensor per weight in PyTorch's [out, in]
layout; each file is then laid out from these tensors, so that a reader that permutes heads wrongly cannot agree with it.
"""
import json
import pathlib

import numpy as np
import torch
import torch.nn.functional as fn

TARGET = pathlib.Path(__file__).resolve().parent.parent / "Espalier.Tests" / "Goldens" / "Vit"
D, HEADS, LAYERS, MLP, PATCH, CLASSES = 16, 2, 2, 32, 4, 5
SCALES = {"weight": 0.25, "bias": 0.1, "scale": 0.2}


def draw(generator, *shape, scale):
    return torch.randn(*shape, generator=generator) * scale


def weights(seed, grid, channels, distilled):
    """The tensors of one model: w[name] for matrices [out, in], and vectors."""
    g = torch.Generator().manual_seed(seed)
    w = {"cls": draw(g, D, scale=0.5), "pos": draw(g, grid * grid + (2 if distilled else 1), D, scale=0.5)}
    if distilled:
        w["dist"] = draw(g, D, scale=0.5)
    linear = {"embed": (D, channels * PATCH * PATCH), "head": (CLASSES, D)}
    if distilled:
        linear["head_dist"] = (CLASSES, D)
    for i in range(LAYERS):
        for name in ("q", "k", "v", "out"):
            linear[f"{i}.{name}"] = (D, D)
        linear[f"{i}.fc1"], linear[f"{i}.fc2"] = (MLP, D), (D, MLP)
    for name, shape in linear.items():
        w[name + ".weight"] = draw(g, *shape, scale=SCALES["weight"])
        w[name + ".bias"] = draw(g, shape[0], scale=SCALES["bias"])
    for name in [f"{i}.norm{n}" for i in range(LAYERS) for n in (1, 2)] + ["norm"]:
        w[name + ".weight"] = 1 + draw(g, D, scale=SCALES["scale"])
        w[name + ".bias"] = draw(g, D, scale=SCALES["bias"])
    return w


def forward(w, images, pos=None):
    """[B, C, S, S] -> logits [B, CLASSES], in double precision."""
    w = {k: v.double() for k, v in w.items()}
    pos = w["pos"] if pos is None else pos.double()
    x = images.double()
    linear = lambda name, t: fn.linear(t, w[name + ".weight"], w[name + ".bias"])
    norm = lambda name, t: fn.layer_norm(t, (D,), w[name + ".weight"], w[name + ".bias"], 1e-6)
    patches = fn.unfold(x, PATCH, stride=PATCH).transpose(1, 2)
    prefix = [w["cls"]] + ([w["dist"]] if "dist" in w else [])
    x = torch.cat([p.expand(len(x), 1, D) for p in prefix] + [linear("embed", patches)], 1) + pos
    for i in range(LAYERS):
        y = norm(f"{i}.norm1", x)
        q, k, v = (linear(f"{i}.{n}", y).unflatten(2, (HEADS, D // HEADS)).transpose(1, 2) for n in "qkv")
        mix = (q @ k.transpose(2, 3) / (D // HEADS) ** 0.5).softmax(-1) @ v
        x = x + linear(f"{i}.out", mix.transpose(1, 2).flatten(2))
        x = x + linear(f"{i}.fc2", fn.gelu(linear(f"{i}.fc1", norm(f"{i}.norm2", x))))
    x = norm("norm", x)
    logits = linear("head", x[:, 0])
    return (logits + linear("head_dist", x[:, 1])) / 2 if "dist" in w else logits


def google(w, channels, prefix="", newer=False, pre_logits=False):
    """Google's arrays: kernels [in, out] or HWIO, heads as an axis."""
    d, a = D // HEADS, {}
    names = ("MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0") if newer else \
        ("MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3")
    a["cls"] = w["cls"].reshape(1, 1, D)
    a["embedding/kernel"] = w["embed.weight"].reshape(D, channels, PATCH, PATCH).permute(2, 3, 1, 0)
    a["embedding/bias"] = w["embed.bias"]
    a["pos_embedding" if newer else "Transformer/posembed_input/pos_embedding"] = w["pos"][None]
    a["head/kernel"], a["head/bias"] = w["head.weight"].T, w["head.bias"]
    a["Transformer/encoder_norm/scale"], a["Transformer/encoder_norm/bias"] = w["norm.weight"], w["norm.bias"]
    for i in range(LAYERS):
        block = f"Transformer/encoderblock_{i}/"
        for ours, theirs in (("norm1", "LayerNorm_0"), ("norm2", names[1])):
            a[f"{block}{theirs}/scale"], a[f"{block}{theirs}/bias"] = w[f"{i}.{ours}.weight"], w[f"{i}.{ours}.bias"]
        for ours, theirs in (("q", "query"), ("k", "key"), ("v", "value")):
            a[f"{block}{names[0]}/{theirs}/kernel"] = w[f"{i}.{ours}.weight"].T.reshape(D, HEADS, d)
            a[f"{block}{names[0]}/{theirs}/bias"] = w[f"{i}.{ours}.bias"].reshape(HEADS, d)
        a[f"{block}{names[0]}/out/kernel"] = w[f"{i}.out.weight"].T.reshape(HEADS, d, D)
        a[f"{block}{names[0]}/out/bias"] = w[f"{i}.out.bias"]
        for ours, theirs in (("fc1", "Dense_0"), ("fc2", "Dense_1")):
            a[f"{block}{names[2]}/{theirs}/kernel"] = w[f"{i}.{ours}.weight"].T
            a[f"{block}{names[2]}/{theirs}/bias"] = w[f"{i}.{ours}.bias"]
    if pre_logits:
        a["pre_logits/kernel"], a["pre_logits/bias"] = torch.eye(D), torch.zeros(D)
    return {prefix + k: np.ascontiguousarray(v.numpy()) for k, v in a.items()}


def timm(w, channels):
    s = {"cls_token": w["cls"].reshape(1, 1, D), "dist_token": w["dist"].reshape(1, 1, D), "pos_embed": w["pos"][None],
         "patch_embed.proj.weight": w["embed.weight"].reshape(D, channels, PATCH, PATCH), "patch_embed.proj.bias": w["embed.bias"]}
    for part in ("weight", "bias"):
        s["norm." + part], s["head." + part], s["head_dist." + part] = w["norm." + part], w["head." + part], w["head_dist." + part]
        for i in range(LAYERS):
            s[f"blocks.{i}.attn.qkv.{part}"] = torch.cat([w[f"{i}.{n}.{part}"] for n in "qkv"])
            for ours, theirs in (("norm1", "norm1"), ("norm2", "norm2"), ("out", "attn.proj"), ("fc1", "mlp.fc1"), ("fc2", "mlp.fc2")):
                s[f"blocks.{i}.{theirs}.{part}"] = w[f"{i}.{ours}.{part}"]
    return s


def port(w, channels):
    e = "transformer.embeddings."
    s = {e + "cls_token": w["cls"].reshape(1, 1, D), e + "position_embeddings": w["pos"][None],
         e + "patch_embeddings.weight": w["embed.weight"].reshape(D, channels, PATCH, PATCH),
         e + "patch_embeddings.bias": w["embed.bias"]}
    for part in ("weight", "bias"):
        s["head." + part], s["transformer.encoder.encoder_norm." + part] = w["head." + part], w["norm." + part]
        for i in range(LAYERS):
            for ours, theirs in (("norm1", "attention_norm"), ("norm2", "ffn_norm"), ("q", "attn.query"), ("k", "attn.key"),
                                 ("v", "attn.value"), ("out", "attn.out"), ("fc1", "ffn.fc1"), ("fc2", "ffn.fc2")):
                s[f"transformer.encoder.layer.{i}.{theirs}.{part}"] = w[f"{i}.{ours}.{part}"]
    return s


def main():
    TARGET.mkdir(parents=True, exist_ok=True)
    expected = {}

    def images(name, channels, size):
        x = draw(torch.Generator().manual_seed(99), 2, channels, size, size, scale=1)
        expected[name] = {"channels": channels, "size": size, "images": x.flatten().tolist()}
        return x

    def logits(name, y):
        expected[name]["logits"] = y.tolist()

    w = weights(1, 3, 3, False)
    x = images("google", 3, 12)
    logits("google", forward(w, x))
    np.savez(TARGET / "google.npz", **google(w, 3, pre_logits=True))
    np.savez_compressed(TARGET / "google_target.npz", **google(w, 3, prefix="opt/target/"),
                        **{"opt/state/step": np.zeros(1, np.float32),
                           "opt/state/param_states/Transformer/posembed_input/pos_embedding": np.zeros((1, 10, D), np.float32)})
    np.savez_compressed(TARGET / "google_newer.npz", **google(w, 3, prefix="params/", newer=True))

    w = weights(2, 2, 3, True)
    x = images("deit", 3, 8)
    logits("deit", forward(w, x))
    torch.save({"model": timm(w, 3), "epoch": 7}, TARGET / "deit.pth")

    # Trained on a 3 x 3 grid, used on a 5 x 5 one: corners aligned.
    w = weights(3, 3, 1, False)
    x = images("resized", 1, 20)
    grid = w["pos"][1:].T.reshape(1, D, 3, 3).double()
    grid = fn.interpolate(grid, size=(5, 5), mode="bilinear", align_corners=True)[0].flatten(1).T
    logits("resized", forward(w, x, torch.cat([w["pos"][:1].double(), grid])))
    torch.save(port(w, 1), TARGET / "port.bin")
    (TARGET / "expected.json").write_text(json.dumps(expected) + "\n")


main()
