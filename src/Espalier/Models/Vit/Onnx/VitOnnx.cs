using Espalier.Formats.Onnx;

namespace Espalier.Models.Onnx;

/// <summary>
/// Writes a <see cref="VisionTransformer"/> into a graph, in the same parts: Embed, Block after block, Classify. Tokens are
/// [N, T, D] throughout.
/// </summary>
/// <param name="linear">How linear layers inside the blocks are written.</param>
/// <param name="batch">Whether the number of images is open; else it is one.</param>
internal sealed class VitOnnx(OnnxGraph graph, OnnxWeights weights, VitConfig config, OnnxLinear linear, bool batch)
{
    private const string Embeddings = "transformer.embeddings.";

    private readonly long width = config.HiddenSize;
    private readonly VitOnnxBlock block = new(graph, weights, config, linear);

    /// <summary>images [N, C, S, S] -> the tokens that enter block 0.</summary>
    public string Embed(string images)
    {
        string map = config.Stem == VitStem.Patches ? images
            : new HybridStemOnnx(graph, weights, config, Embeddings + "hybrid_model.").Add(images);
        string patches = graph.Node("Conv", "patches",
            [map, weights.Constant(Embeddings + "patch_embeddings.weight"),
                weights.Constant(Embeddings + "patch_embeddings.bias")],
            OnnxAttribute.Ints("kernel_shape", config.PatchSize, config.PatchSize),
            OnnxAttribute.Ints("strides", config.PatchSize, config.PatchSize));
        string flat = graph.Node("Reshape", "patches.flat", [patches, graph.Integers("shape.patches", 0, width, -1)]);
        string rows = graph.Node("Transpose", "patches.rows", [flat], OnnxAttribute.Ints("perm", 0, 2, 1));

        float[] positions = weights[Embeddings + "position_embeddings"].ToArray();
        int prefix = config.PrefixTokens * config.HiddenSize;
        string placed = graph.Node("Add", "patches.placed", [rows,
            graph.Floats("patch_positions", [1, config.Tokens - config.PrefixTokens, width], positions[prefix..])]);
        return graph.Node("Concat", "tokens.all", [Prefix(images, positions[..prefix]), placed], OnnxAttribute.Int("axis", 1));
    }

    /// <summary>Block <paramref name="index"/> of the tokens x.</summary>
    /// <param name="prefixOnly">Computes it for the class token (and DeiT's other one) alone: nobody reads the rest.</param>
    public string Block(int index, string x, bool prefixOnly)
    {
        string name = $"transformer.encoder.layer.{index}";
        return prefixOnly ? block.Add(name, x, config.PrefixTokens) : block.Add(name, x);
    }

    /// <summary>Tokens of the last block -> the output "logits" [N, classes].</summary>
    public void Classify(string x)
    {
        if (!config.Distilled)
        {
            Head("head", x, 0, "logits");
            return;
        }
        string sum = graph.Node("Add", "heads.sum",
            [Head("head", x, 0, "head.logits"), Head("head_dist", x, 1, "head_dist.logits")]);
        graph.Node("Mul", "logits", [sum, graph.Floats("half", [], 0.5f)]);
    }

    private string Head(string name, string x, int token, string output)
    {
        string index = graph.Constant(OnnxTensor.Of($"token.{token}", [], [(long)token]));
        string row = graph.Node("Gather", name + ".token", [x, index], OnnxAttribute.Int("axis", 1));
        string norm = VitOnnxBlock.LayerNorm(graph, weights, name + ".norm", "transformer.encoder.encoder_norm", row);
        return graph.Node("Gemm", output,
            [norm, weights.Constant(name + ".weight"), weights.Constant(name + ".bias")], OnnxAttribute.Int("transB", 1));
    }

    /// <summary>The class token (and DeiT's distillation token) with their positions, for every image: [N, 1 or 2, D].</summary>
    private string Prefix(string images, float[] positions)
    {
        float[] tokens = weights[Embeddings + "cls_token"].ToArray();
        if (config.Distilled) tokens = [.. tokens, .. weights[Embeddings + "dist_token"].Span];
        for (int i = 0; i < tokens.Length; i++) tokens[i] += positions[i];
        string prefix = graph.Floats("prefix_tokens", [1, config.PrefixTokens, width], tokens);
        if (!batch) return prefix;
        string count = graph.Node("Shape", "images.count", [images], OnnxAttribute.Int("start", 0), OnnxAttribute.Int("end", 1));
        string shape = graph.Node("Concat", "prefix.shape", [count, graph.Integers("shape.prefix", config.PrefixTokens, width)],
            OnnxAttribute.Int("axis", 0));
        return graph.Node("Expand", "prefix", [prefix, shape]);
    }
}
