using Espalier.Formats;

namespace Espalier.Models;

/// <summary>Whose names the tensors of a vision transformer have.</summary>
internal enum VitLayout
{
    /// <summary>Those of the PyTorch port that APT was built on, which are the names here; or of no vision transformer.</summary>
    Own,

    /// <summary>DeiT's and timm's: query, key and value stacked in one matrix [3D, D] in that order.</summary>
    Timm,

    /// <summary>torchvision's: stacked likewise.</summary>
    Torchvision,

    /// <summary>Those of Hugging Face's ViT and DeiT.</summary>
    HuggingFace,
}

/// <summary>From the names of published state dicts to those used here.</summary>
internal static class VitNames
{
    private const string Embeddings = "transformer.embeddings.", Layer = "transformer.encoder.layer.";
    private const string Norm = "transformer.encoder.encoder_norm.";

    private static readonly string[] Projections = ["query", "key", "value"];

    public static VitLayout LayoutOf(IReadOnlyCollection<string> names) =>
        names.Contains("patch_embed.proj.weight") ? VitLayout.Timm
        : names.Contains("conv_proj.weight") && names.Contains("class_token") ? VitLayout.Torchvision
        : names.Any(n => n is "embeddings.patch_embeddings.projection.weight" or "vit.embeddings.patch_embeddings.projection.weight"
            or "deit.embeddings.patch_embeddings.projection.weight") ? VitLayout.HuggingFace
        : VitLayout.Own;

    /// <summary>All arrays under the names used here. A transformer whose queries, keys and values have no biases has biases of
    /// zero.</summary>
    public static IReadOnlyDictionary<string, NamedArray> Convert(IReadOnlyDictionary<string, NamedArray> stored,
        VitLayout layout)
    {
        var arrays = new OrderedDictionary<string, NamedArray>();
        foreach (NamedArray array in stored.Values)
        {
            int start = 0;
            foreach (var (name, shape) in Parts(array.Name, array.Shape, layout))
            {
                int length = (int)ArrayShape.Count(shape);
                float[] data = length == array.Data.Length ? array.Data : array.Data[start..(start + length)];
                if (!arrays.TryAdd(name, new NamedArray(name, shape, data)))
                    throw new InvalidDataException($"two arrays both stand for {name}");
                start += length;
            }
        }
        foreach (var (name, length) in MissingBiases(arrays.ToDictionary(a => a.Key, a => a.Value.Shape)))
            arrays.Add(name, new NamedArray(name, [length], new float[length]));
        return arrays;
    }

    /// <summary>Biases of queries, keys and values that are nowhere, beside weights that are there; with their lengths.</summary>
    public static IEnumerable<(string Name, int Length)> MissingBiases(IReadOnlyDictionary<string, int[]> shapes)
    {
        foreach (var (name, shape) in shapes)
        {
            if (!name.StartsWith(Layer, StringComparison.Ordinal) || name.Split('.') is not [.., "attn", var projection, "weight"]
                || !Projections.Contains(projection))
                continue;
            // One that lacks some of the three is damaged, or keeps them elsewhere.
            string attention = name[..^$"{projection}.weight".Length];
            if (Projections.All(p => !shapes.ContainsKey($"{attention}{p}.bias")))
                yield return ($"{attention}{projection}.bias", shape[0]);
        }
    }

    /// <summary>What one array of the file stands for: the names and shapes of its parts, which follow one another.</summary>
    public static IEnumerable<(string Name, int[] Shape)> Parts(string stored, int[] shape, VitLayout layout)
    {
        string[] path = stored.Split('.');
        var (block, part) = (layout, path) switch
        {
            (VitLayout.Timm, ["blocks", var i, "attn", "qkv", var p]) => (i, p),
            (VitLayout.Torchvision, ["encoder", "layers", var i, "self_attention", "in_proj_weight" or "in_proj_bias"]) =>
                (Number(i), path[^1]["in_proj_".Length..]),
            _ => (null, ""),
        };
        if (block is null)
        {
            string? name = layout switch
            {
                VitLayout.Timm => OfTimm(path),
                VitLayout.Torchvision => OfTorchvision(path),
                VitLayout.HuggingFace => OfHuggingFace(path[0] is "vit" or "deit" ? path[1..] : path),
                _ => null,
            };
            return [(name ?? stored, shape)];
        }
        if (shape.Length == 0 || shape[0] % 3 != 0)
            throw new InvalidDataException($"array {stored} has shape [{string.Join(",", shape)}]; three matrices are expected");
        int[] third = [shape[0] / 3, .. shape[1..]];
        return Projections.Select(name => ($"{Layer}{block}.attn.{name}.{part}", third));
    }

    private static string? OfTimm(string[] path) => path switch
    {
        ["cls_token" or "dist_token"] => Embeddings + path[0],
        ["pos_embed"] => Embeddings + "position_embeddings",
        ["patch_embed", "proj", var p] => $"{Embeddings}patch_embeddings.{p}",
        ["norm", var p] => Norm + p,
        ["blocks", var i, "norm1", var p] => $"{Layer}{i}.attention_norm.{p}",
        ["blocks", var i, "norm2", var p] => $"{Layer}{i}.ffn_norm.{p}",
        ["blocks", var i, "attn", "proj", var p] => $"{Layer}{i}.attn.out.{p}",
        ["blocks", var i, "mlp", var fc, var p] => $"{Layer}{i}.ffn.{fc}.{p}",
        _ => null,
    };

    private static string? OfTorchvision(string[] path) => path switch
    {
        ["class_token"] => Embeddings + "cls_token",
        ["encoder", "pos_embedding"] => Embeddings + "position_embeddings",
        ["conv_proj", var p] => $"{Embeddings}patch_embeddings.{p}",
        ["encoder", "ln", var p] => Norm + p,
        ["heads", "head", var p] => $"head.{p}",
        ["encoder", "layers", var i, "ln_1", var p] => $"{Layer}{Number(i)}.attention_norm.{p}",
        ["encoder", "layers", var i, "ln_2", var p] => $"{Layer}{Number(i)}.ffn_norm.{p}",
        ["encoder", "layers", var i, "self_attention", "out_proj", var p] => $"{Layer}{Number(i)}.attn.out.{p}",
        ["encoder", "layers", var i, "mlp", "0" or "linear_1", var p] => $"{Layer}{Number(i)}.ffn.fc1.{p}",
        ["encoder", "layers", var i, "mlp", "3" or "linear_2", var p] => $"{Layer}{Number(i)}.ffn.fc2.{p}",
        _ => null,
    };

    private static string? OfHuggingFace(string[] path) => path switch
    {
        ["embeddings", "cls_token"] => Embeddings + "cls_token",
        ["embeddings", "distillation_token"] => Embeddings + "dist_token",
        ["embeddings", "position_embeddings"] => Embeddings + "position_embeddings",
        ["embeddings", "patch_embeddings", "projection", var p] => $"{Embeddings}patch_embeddings.{p}",
        ["layernorm", var p] => Norm + p,
        ["classifier" or "cls_classifier", var p] => $"head.{p}",
        ["distillation_classifier", var p] => $"head_dist.{p}",
        ["encoder", "layer", var i, "layernorm_before", var p] => $"{Layer}{i}.attention_norm.{p}",
        ["encoder", "layer", var i, "layernorm_after", var p] => $"{Layer}{i}.ffn_norm.{p}",
        ["encoder", "layer", var i, "attention", "attention", "query" or "key" or "value", var p] =>
            $"{Layer}{i}.attn.{path[5]}.{p}",
        ["encoder", "layer", var i, "attention", "output", "dense", var p] => $"{Layer}{i}.attn.out.{p}",
        ["encoder", "layer", var i, "intermediate", "dense", var p] => $"{Layer}{i}.ffn.fc1.{p}",
        ["encoder", "layer", var i, "output", "dense", var p] => $"{Layer}{i}.ffn.fc2.{p}",
        _ => null,
    };

    /// <summary>"encoder_layer_7" -> "7".</summary>
    private static string Number(string layer) => layer["encoder_layer_".Length..];
}
