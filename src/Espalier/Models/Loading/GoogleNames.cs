using Espalier.Formats;

namespace Espalier.Models;

/// <summary>
/// Google's ViT layout: arrays named with slashes, kernels [in, out] and HWIO, heads as an axis of their own. Layer numbers 0 to 3
/// come from the order of creation; a newer family restarts them at 0 for each kind and puts the position embedding on top.
/// </summary>
internal static class GoogleNames
{
    private static readonly string[] Prefixes = ["opt/target/", "params/"];

    public static IReadOnlyDictionary<string, NamedArray> Convert(Checkpoint file)
    {
        var arrays = new Dictionary<string, NamedArray>();
        foreach (NamedArray array in file.Arrays.Values)
        {
            string name = Array.Find(Prefixes, p => array.Name.StartsWith(p, StringComparison.Ordinal)) is { } prefix
                ? array.Name[prefix.Length..]
                : array.Name;
            var (target, converted) = One(name.Split('/'), array);
            if (!arrays.TryAdd(target, new NamedArray(target, converted.Shape, converted.Data)))
                throw new InvalidDataException($"two arrays both stand for {target}");
        }
        return arrays;
    }

    /// <summary>Attention heads, which only this layout tells: an axis of its query kernels [D, heads, d]. Else null.</summary>
    public static int? Heads(Checkpoint file)
    {
        NamedArray? query = file.Arrays.Values.FirstOrDefault(a => a.Name.EndsWith("/query/kernel", StringComparison.Ordinal));
        return query is { Shape: [_, var heads, _] } ? heads : null;
    }

    private static (string Name, NamedArray Array) One(string[] path, NamedArray a) => path switch
    {
        ["cls"] => ("transformer.embeddings.cls_token", a),
        ["embedding", "kernel"] => ("transformer.embeddings.patch_embeddings.weight", Layout.ConvKernel(a)),
        ["embedding", "bias"] => ("transformer.embeddings.patch_embeddings.bias", a),
        ["Transformer", "posembed_input", "pos_embedding"] or ["pos_embedding"] =>
            ("transformer.embeddings.position_embeddings", a),
        ["Transformer", "encoder_norm", var p] => ($"transformer.encoder.encoder_norm.{NormPart(p)}", a),
        ["head", "kernel"] => ("head.weight", Layout.Transpose(a)),
        ["head", "bias"] => ("head.bias", a),
        ["pre_logits", "kernel"] => ("pre_logits.fc.weight", Layout.Transpose(a)),
        ["pre_logits", "bias"] => ("pre_logits.fc.bias", a),
        ["Transformer", var block, .. var rest] when block.StartsWith("encoderblock_", StringComparison.Ordinal) =>
            InBlock($"transformer.encoder.layer.{block["encoderblock_".Length..]}", rest, a),
        ["conv_root", "kernel"] => ("transformer.embeddings.hybrid_model.root.conv.weight", Layout.ConvKernel(a)),
        ["gn_root", var p] => ($"transformer.embeddings.hybrid_model.root.gn.{NormPart(p)}", Layout.Flatten(a)),
        [var block, var unit, var part, var p] when block.StartsWith("block", StringComparison.Ordinal) =>
            InUnit($"transformer.embeddings.hybrid_model.body.{block}.{unit}", part, p, a),
        _ => (string.Join('/', path), a),       // not ours: reported as unexpected
    };

    private static (string, NamedArray) InBlock(string prefix, string[] path, NamedArray a) => path switch
    {
        ["LayerNorm_0", var p] => ($"{prefix}.attention_norm.{NormPart(p)}", a),
        ["LayerNorm_1" or "LayerNorm_2", var p] => ($"{prefix}.ffn_norm.{NormPart(p)}", a),
        [var m, "out", "kernel"] when IsAttention(m) => ($"{prefix}.attn.out.weight", Layout.HeadsToOutput(a)),
        [var m, var projection, "kernel"] when IsAttention(m) => ($"{prefix}.attn.{projection}.weight", Layout.InputToHeads(a)),
        [var m, var projection, "bias"] when IsAttention(m) => ($"{prefix}.attn.{projection}.bias", Layout.Flatten(a)),
        [var m, var dense, "kernel"] when IsMlp(m) => ($"{prefix}.ffn.{FullyConnected(dense)}.weight", Layout.Transpose(a)),
        [var m, var dense, "bias"] when IsMlp(m) => ($"{prefix}.ffn.{FullyConnected(dense)}.bias", a),
        _ => ($"{prefix}/{string.Join('/', path)}", a),
    };

    private static (string, NamedArray) InUnit(string prefix, string part, string p, NamedArray a) => (part, p) switch
    {
        ("conv_proj", "kernel") => ($"{prefix}.downsample.weight", Layout.ConvKernel(a)),
        (_, "kernel") => ($"{prefix}.{part}.weight", Layout.ConvKernel(a)),
        _ => ($"{prefix}.{part}.{NormPart(p)}", Layout.Flatten(a)),
    };

    private static bool IsAttention(string name) => name.StartsWith("MultiHeadDotProductAttention_", StringComparison.Ordinal);

    private static bool IsMlp(string name) => name.StartsWith("MlpBlock_", StringComparison.Ordinal);

    private static string FullyConnected(string dense) => dense == "Dense_0" ? "fc1" : dense == "Dense_1" ? "fc2" : dense;

    private static string NormPart(string part) => part == "scale" ? "weight" : part;
}
