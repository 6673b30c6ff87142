"""A vision transformer of two blocks whose weights and images are said by formulas, so that tests need no files for them:
images of 8 pixels, patches of 4, 12 channels, 3 heads, 20 hidden units, 10 classes. In double precision."""
import numpy as np
import torch
import torch.nn.functional as F

D, HEADS, HIDDEN, TOKENS, CLASSES, BLOCKS, BATCH = 12, 3, 20, 5, 10, 2, 8
LAYERS = "transformer.encoder.layer."


def shapes():
    yield "transformer.embeddings.patch_embeddings.weight", (D, 1, 4, 4)
    yield "transformer.embeddings.patch_embeddings.bias", (D,)
    yield "transformer.embeddings.position_embeddings", (1, TOKENS, D)
    yield "transformer.embeddings.cls_token", (1, 1, D)
    for b in range(BLOCKS):
        for layer, shape in (("attention_norm", (D,)), ("ffn_norm", (D,)), ("attn.query", (D, D)), ("attn.key", (D, D)),
                             ("attn.value", (D, D)), ("attn.out", (D, D)), ("ffn.fc1", (HIDDEN, D)), ("ffn.fc2", (D, HIDDEN))):
            yield f"{LAYERS}{b}.{layer}.weight", shape
            yield f"{LAYERS}{b}.{layer}.bias", shape[:1]
    yield "transformer.encoder.encoder_norm.weight", (D,)
    yield "transformer.encoder.encoder_norm.bias", (D,)
    yield "head.weight", (CLASSES, D)
    yield "head.bias", (CLASSES,)


def single(values):
    return torch.from_numpy(values.astype(np.float32).astype(np.float64))


def weights():
    """Element i of tensor t is 0.4 sin(0.7 i (1 + 0.01 t) + t), that of a norm's weight 1 more."""
    result = {}
    for t, (name, shape) in enumerate(shapes()):
        i = np.arange(int(np.prod(shape)), dtype=np.float64)
        values = 0.4 * np.sin(0.7 * i * (1 + 0.01 * t) + t) + (1 if "norm.weight" in name else 0)
        result[name] = single(values).reshape(shape).clone().requires_grad_()
    return result


def batch(step):
    i = np.arange(BATCH * 64, dtype=np.float64) + step * BATCH * 64
    return single(np.sin(0.013 * i * i + 0.5 * i)).reshape(BATCH, 1, 8, 8), torch.tensor([(3 * n + step) % CLASSES for n in range(BATCH)])


def forward(p, x, gate=lambda place, block, y: y, keys=None):
    """gate(place, block, value): what becomes of "ln1", "q", "k", "v", "attention", "ln2" and "gelu". keys[block]: the tokens that
    queries see; all for None."""
    n = len(x)
    e = "transformer.embeddings."
    patches = F.conv2d(x, p[e + "patch_embeddings.weight"], p[e + "patch_embeddings.bias"], stride=4).flatten(2).transpose(1, 2)
    x = torch.cat([p[e + "cls_token"].expand(n, 1, D), patches], 1) + p[e + "position_embeddings"]

    def norm(y, name):
        return F.layer_norm(y, (D,), p[name + ".weight"], p[name + ".bias"], 1e-6)

    def linear(y, name):
        return F.linear(y, p[name + ".weight"], p[name + ".bias"])

    for b in range(BLOCKS):
        l = f"{LAYERS}{b}."
        u = gate("ln1", b, norm(x, l + "attention_norm"))
        q, k, v = (gate(s, b, linear(u, l + "attn." + w)).view(n, TOKENS, HEADS, -1).transpose(1, 2)
                   for s, w in (("q", "query"), ("k", "key"), ("v", "value")))
        logits = q @ k.transpose(-1, -2) / (D // HEADS) ** 0.5
        if keys:
            logits = logits.masked_fill(torch.tensor([t not in keys[b] for t in range(TOKENS)]), float("-inf"))
        a = torch.softmax(logits, -1) @ v
        x = x + linear(gate("attention", b, a.transpose(1, 2).reshape(n, TOKENS, -1)), l + "attn.out")
        w = gate("ln2", b, norm(x, l + "ffn_norm"))
        x = x + linear(gate("gelu", b, F.gelu(linear(w, l + "ffn.fc1"))), l + "ffn.fc2")
    return linear(norm(x[:, 0], "transformer.encoder.encoder_norm"), "head")


def numbers(t):
    return [float(f"{x:.7g}") for x in t.detach().numpy().ravel()]
