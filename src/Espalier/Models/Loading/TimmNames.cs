using Espalier.Formats;

namespace Espalier.Models;

/// <summary>
/// The DeiT / timm state dict: short names, and query, key and value stacked in one matrix [3D, D] in that order.
/// </summary>
internal static class TimmNames
{
    public static IReadOnlyDictionary<string, NamedArray> Convert(Checkpoint file)
    {
        var arrays = new Dictionary<string, NamedArray>();
        foreach (NamedArray array in file.Arrays.Values)
        {
            int start = 0;
            foreach (var (name, shape) in Parts(array.Name, array.Shape))
            {
                int length = (int)ArrayShape.Count(shape);
                float[] data = length == array.Data.Length ? array.Data : array.Data[start..(start + length)];
                if (!arrays.TryAdd(name, new NamedArray(name, shape, data)))
                    throw new InvalidDataException($"two arrays both stand for {name}");
                start += length;
            }
        }
        return arrays;
    }

    /// <summary>What one array of the file stands for: the names and shapes of its parts, which follow one another.</summary>
    public static IEnumerable<(string Name, int[] Shape)> Parts(string stored, int[] shape)
    {
        string[] path = stored.Split('.');
        if (path is not ["blocks", var i, "attn", "qkv", var part]) return [(Rename(path), shape)];
        if (shape.Length == 0 || shape[0] % 3 != 0)
            throw new InvalidDataException($"array {stored} has shape [{string.Join(",", shape)}]; three matrices are expected");
        int[] third = [shape[0] / 3, .. shape[1..]];
        string[] names = ["query", "key", "value"];
        return names.Select(name => ($"transformer.encoder.layer.{i}.attn.{name}.{part}", third));
    }

    private static string Rename(string[] path) => path switch
    {
        ["cls_token" or "dist_token"] => $"transformer.embeddings.{path[0]}",
        ["pos_embed"] => "transformer.embeddings.position_embeddings",
        ["patch_embed", "proj", var p] => $"transformer.embeddings.patch_embeddings.{p}",
        ["norm", var p] => $"transformer.encoder.encoder_norm.{p}",
        ["blocks", var i, "norm1", var p] => $"transformer.encoder.layer.{i}.attention_norm.{p}",
        ["blocks", var i, "norm2", var p] => $"transformer.encoder.layer.{i}.ffn_norm.{p}",
        ["blocks", var i, "attn", "proj", var p] => $"transformer.encoder.layer.{i}.attn.out.{p}",
        ["blocks", var i, "mlp", var fc, var p] => $"transformer.encoder.layer.{i}.ffn.{fc}.{p}",
        _ => string.Join('.', path),
    };
}
