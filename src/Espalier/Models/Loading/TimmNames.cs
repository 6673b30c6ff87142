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
            string[] path = array.Name.Split('.');
            if (path is ["blocks", var i, "attn", "qkv", var part])
            {
                foreach (var (name, third) in Thirds(array)) Add($"transformer.encoder.layer.{i}.attn.{name}.{part}", third);
                continue;
            }
            Add(Rename(path), array);
        }
        return arrays;

        void Add(string name, NamedArray a)
        {
            if (!arrays.TryAdd(name, new NamedArray(name, a.Shape, a.Data)))
                throw new InvalidDataException($"two arrays both stand for {name}");
        }
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

    private static IEnumerable<(string Name, NamedArray Part)> Thirds(NamedArray a)
    {
        if (a.Shape.Length == 0 || a.Shape[0] % 3 != 0)
            throw new InvalidDataException($"array {a.Name} has shape [{string.Join(",", a.Shape)}]; three matrices are expected");
        int length = a.Data.Length / 3;
        int[] shape = [a.Shape[0] / 3, .. a.Shape[1..]];
        string[] names = ["query", "key", "value"];
        for (int i = 0; i < 3; i++) yield return (names[i], new NamedArray(names[i], shape, a.Data[(i * length)..((i + 1) * length)]));
    }
}
