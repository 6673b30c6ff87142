namespace Espalier.Models;

/// <summary>Whose names the tensors of a vision transformer have.</summary>
internal enum VitLayout
{
    /// <summary>Those of the PyTorch port that APT was built on, which are the names here; or of no vision transformer.</summary>
    Own,

    /// <summary>timm's, DeiT's, and Meta's of DINO and MAE: query, key and value stacked in one matrix [3D, D] in that order.</summary>
    Timm,

    /// <summary>torchvision's: stacked likewise.</summary>
    Torchvision,

    /// <summary>Those of Hugging Face's ViT, DeiT and MAE.</summary>
    HuggingFace,

    /// <summary>Those of Hugging Face's DINOv2, with registers or without.</summary>
    HuggingFaceDino,

    /// <summary>Those of Hugging Face's SigLIP, whose image tower is read.</summary>
    HuggingFaceSiglip,
}

/// <summary>From the names of published state dicts to those used here.</summary>
internal static class VitNames
{
    internal const string Embeddings = "transformer.embeddings.", Layer = "transformer.encoder.layer.", Pool = "pool.";
    internal const string Norm = "transformer.encoder.encoder_norm.", Positions = Embeddings + "position_embeddings";

    private static readonly string[] Projections = ["query", "key", "value"];

    /// <summary>What Hugging Face's classifiers have in front of the encoder's names.</summary>
    private static readonly string[] Encoders = ["vit", "deit", "dinov2", "dinov2_with_registers", "vision_model"];

    public static VitLayout LayoutOf(IReadOnlyCollection<string> names)
    {
        if (names.Contains("patch_embed.proj.weight")) return VitLayout.Timm;
        if (names.Contains("conv_proj.weight") && names.Contains("class_token")) return VitLayout.Torchvision;
        if (names.Contains("vision_model.embeddings.patch_embedding.weight")
            && !names.Contains("vision_model.embeddings.class_embedding")) return VitLayout.HuggingFaceSiglip;
        if (!names.Any(n => n.EndsWith("embeddings.patch_embeddings.projection.weight", StringComparison.Ordinal)
            && Bare(n.Split('.')) is ["embeddings", ..])) return VitLayout.Own;
        return names.Any(n => n.EndsWith(".layer_scale1.lambda1", StringComparison.Ordinal))
            ? VitLayout.HuggingFaceDino : VitLayout.HuggingFace;
    }

    /// <summary>The file's tensors under the names used here. A transformer whose linear layers have no biases, as some have none
    /// for queries, keys and values or for patches, has biases of zero; and tokens without a position have one of zero.</summary>
    /// <param name="names">The file's name for each without what stands in front of it.</param>
    /// <exception cref="EspalierException">Two stand for the same, or a stacked one does not divide.</exception>
    public static ModelTensors Map(ModelTensors file, IReadOnlyDictionary<string, string> names)
    {
        VitLayout layout = LayoutOf([.. names.Keys]);
        var mapped = new MappedTensors(file, owned: true, layout);
        (string Name, string Stored)? positions = null;
        foreach (var (name, stored) in names)
        {
            int[] shape = file.Shapes[stored];
            string[] targets = Targets(name.Split('.'), layout, n => names.TryGetValue(n, out string? s) ? file.Shapes[s] : null);
            if (targets is [Positions] && shape.Length is 2 or 3) positions = (name, stored);
            else if (targets.Length > 1) mapped.AddParts(stored, targets);
            else if (targets[0].EndsWith("_token", StringComparison.Ordinal) && shape.Length == 2) mapped.Add(targets[0], stored, [1, .. shape]);
            else mapped.Add(targets[0], stored);
        }
        if (positions is { } p) AddPositions(mapped, file, p.Stored, named: p.Name != "pos_embed" || !names.ContainsKey("reg_token"));
        foreach (var (name, length) in MissingBiases(mapped.Shapes, layout).ToList()) mapped.AddZeros(name, [length]);
        return mapped;
    }

    /// <summary>
    /// Positions of all tokens. A file may leave out those of registers (Meta's of DINOv2 and Hugging Face's), or those of all
    /// tokens in front (timm's no_embed_class, DeiT III).
    /// </summary>
    /// <param name="named">Whether registers, if any, surely have none.</param>
    private static void AddPositions(MappedTensors mapped, ModelTensors file, string stored, bool named)
    {
        int[] shape = file.Shapes[stored];
        int Count(string token) => mapped.Shapes.GetValueOrDefault(Embeddings + token) is [_, var count, _] ? count : 0;
        int front = Count("cls_token") + Count("dist_token"), registers = Count("reg_token"), rows = shape[^2];
        bool whole = (shape.Length == 2 || shape[0] == 1) && rows > 0;
        if (whole && registers > 0 && named && IsSquare(rows - front)) mapped.AddWithZeros(Positions, stored, front, registers);
        else if (whole && front + registers > 0 && IsSquare(rows)) mapped.AddWithZeros(Positions, stored, 0, front + registers);
        else if (shape.Length == 2) mapped.Add(Positions, stored, [1, .. shape]);
        else mapped.Add(Positions, stored);

        static bool IsSquare(int n) => n > 0 && Math.Sqrt(n) is var root && root == Math.Floor(root);
    }

    /// <summary>Biases that are nowhere, beside weights that are there; with their lengths.</summary>
    private static IEnumerable<(string Name, int Length)> MissingBiases(IReadOnlyDictionary<string, int[]> shapes, VitLayout layout)
    {
        const string Patches = Embeddings + "patch_embeddings.";
        if (layout != VitLayout.Own && !shapes.ContainsKey(Patches + "bias") && shapes.GetValueOrDefault(Patches + "weight") is [var width, ..])
            yield return (Patches + "bias", width);
        foreach (var (name, shape) in shapes)
        {
            if (!name.StartsWith(Layer, StringComparison.Ordinal) || name.Split('.') is not [.., "attn", var projection, "weight"]
                || !Projections.Contains(projection) || shape.Length == 0)
                continue;
            // One that lacks some of the three is damaged, or keeps them elsewhere.
            string attention = name[..^$"{projection}.weight".Length];
            if (Projections.All(p => !shapes.ContainsKey($"{attention}{p}.bias")))
                yield return ($"{attention}{projection}.bias", shape[0]);
        }
    }

    /// <summary>What a tensor of the file is here; several names where it is stacked of them.</summary>
    /// <param name="shapeOf">The shape of another tensor of the file.</param>
    private static string[] Targets(string[] path, VitLayout layout, Func<string, int[]?> shapeOf)
    {
        string[] bare = layout is VitLayout.HuggingFace or VitLayout.HuggingFaceDino ? Bare(path) : path;
        return (layout, bare) switch
        {
            (VitLayout.Timm, ["blocks", var i, "attn", "qkv", var p]) => Stacked($"{Layer}{i}.attn.", p, Projections),
            (VitLayout.Timm, ["blocks", var i, "mlp", "w12", var p]) => Stacked($"{Layer}{i}.ffn.", p, "gate", "fc1"),
            (VitLayout.Timm, ["blocks", var i, "mlp", "fc1", var p]) when IsGated(i) => Stacked($"{Layer}{i}.ffn.", p, "gate", "fc1"),
            (VitLayout.Timm, ["attn_pool", "kv", var p]) => Stacked(Pool, p, "key", "value"),
            (VitLayout.Torchvision, ["encoder", "layers", var i, "self_attention", "in_proj_weight" or "in_proj_bias"]) =>
                Stacked($"{Layer}{Number(i)}.attn.", path[^1]["in_proj_".Length..], Projections),
            (VitLayout.HuggingFaceDino, ["encoder", "layer", var i, "mlp", "weights_in", var p]) =>
                Stacked($"{Layer}{i}.ffn.", p, "gate", "fc1"),
            (VitLayout.HuggingFaceSiglip, ["vision_model", "head", "attention", "in_proj_weight" or "in_proj_bias"]) =>
                Stacked(Pool, path[^1]["in_proj_".Length..], Projections),
            _ => [One(bare, layout) ?? string.Join('.', path)],
        };

        bool IsGated(string i) => shapeOf($"blocks.{i}.mlp.fc1.weight") is [var hidden, _]
            && shapeOf($"blocks.{i}.mlp.fc2.weight") is [_, var read] && hidden == 2L * read;
    }

    private static string[] Stacked(string prefix, string part, params string[] layers) => [.. layers.Select(l => $"{prefix}{l}.{part}")];

    private static string[] Bare(string[] path) => Encoders.Contains(path[0]) ? path[1..] : path;

    private static string? One(string[] path, VitLayout layout) => layout switch
    {
        VitLayout.Timm => OfTimm(path),
        VitLayout.Torchvision => OfTorchvision(path),
        VitLayout.HuggingFace => OfHuggingFace(path),
        VitLayout.HuggingFaceDino => OfDino(path) ?? OfHuggingFace(path),
        VitLayout.HuggingFaceSiglip => OfSiglip(path),
        _ => null,
    };

    private static string? OfTimm(string[] path) => path switch
    {
        ["cls_token" or "dist_token" or "reg_token"] => Embeddings + path[0],
        ["register_tokens"] => Embeddings + "reg_token",
        ["pos_embed"] => Positions,
        ["patch_embed", "proj", var p] => $"{Embeddings}patch_embeddings.{p}",
        ["norm", var p] => Norm + p,
        ["norm_pre", var p] => $"transformer.norm_pre.{p}",
        ["pre_logits", "fc", var p] => $"pre_logits.fc.{p}",
        ["linear_head", var p] => $"head.{p}",
        ["attn_pool", "latent"] => Pool + "probe",
        ["attn_pool", "q", var p] => $"{Pool}query.{p}",
        ["attn_pool", "proj", var p] => $"{Pool}out.{p}",
        ["attn_pool", "norm", var p] => $"{Pool}norm.{p}",
        ["attn_pool", "mlp", var fc, var p] => $"{Pool}ffn.{fc}.{p}",
        ["blocks", var i, "norm1", var p] => $"{Layer}{i}.attention_norm.{p}",
        ["blocks", var i, "norm2", var p] => $"{Layer}{i}.ffn_norm.{p}",
        ["blocks", var i, "attn", "proj", var p] => $"{Layer}{i}.attn.out.{p}",
        ["blocks", var i, "attn", "q_norm" or "k_norm", var p] => $"{Layer}{i}.attn.{path[3]}.{p}",
        ["blocks", var i, "mlp", "w3", var p] => $"{Layer}{i}.ffn.fc2.{p}",
        ["blocks", var i, "mlp", var fc, var p] => $"{Layer}{i}.ffn.{fc}.{p}",
        ["blocks", var i, "ls1" or "gamma_1", ..] => $"{Layer}{i}.attn_scale",
        ["blocks", var i, "ls2" or "gamma_2", ..] => $"{Layer}{i}.ffn_scale",
        _ => null,
    };

    private static string? OfTorchvision(string[] path) => path switch
    {
        ["class_token"] => Embeddings + "cls_token",
        ["encoder", "pos_embedding"] => Positions,
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
        ["embeddings", "position_embeddings"] => Positions,
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

    private static string? OfDino(string[] path) => path switch
    {
        ["embeddings", "register_tokens"] => Embeddings + "reg_token",
        ["encoder", "layer", var i, "norm1", var p] => $"{Layer}{i}.attention_norm.{p}",
        ["encoder", "layer", var i, "norm2", var p] => $"{Layer}{i}.ffn_norm.{p}",
        ["encoder", "layer", var i, "mlp", "weights_out", var p] => $"{Layer}{i}.ffn.fc2.{p}",
        ["encoder", "layer", var i, "mlp", var fc, var p] => $"{Layer}{i}.ffn.{fc}.{p}",
        ["encoder", "layer", var i, "layer_scale1", "lambda1"] => $"{Layer}{i}.attn_scale",
        ["encoder", "layer", var i, "layer_scale2", "lambda1"] => $"{Layer}{i}.ffn_scale",
        _ => null,
    };

    private static string? OfSiglip(string[] path) => path switch
    {
        ["classifier", var p] => $"head.{p}",
        ["vision_model", "embeddings", "position_embedding", "weight"] => Positions,
        ["vision_model", "embeddings", "patch_embedding", var p] => $"{Embeddings}patch_embeddings.{p}",
        ["vision_model", "post_layernorm", var p] => Norm + p,
        ["vision_model", "head", "probe"] => Pool + "probe",
        ["vision_model", "head", "attention", "out_proj", var p] => $"{Pool}out.{p}",
        ["vision_model", "head", "layernorm", var p] => $"{Pool}norm.{p}",
        ["vision_model", "head", "mlp", var fc, var p] => $"{Pool}ffn.{fc}.{p}",
        ["vision_model", "encoder", "layers", var i, "layer_norm1", var p] => $"{Layer}{i}.attention_norm.{p}",
        ["vision_model", "encoder", "layers", var i, "layer_norm2", var p] => $"{Layer}{i}.ffn_norm.{p}",
        ["vision_model", "encoder", "layers", var i, "self_attn", "out_proj", var p] => $"{Layer}{i}.attn.out.{p}",
        ["vision_model", "encoder", "layers", var i, "self_attn", "q_proj", var p] => $"{Layer}{i}.attn.query.{p}",
        ["vision_model", "encoder", "layers", var i, "self_attn", "k_proj", var p] => $"{Layer}{i}.attn.key.{p}",
        ["vision_model", "encoder", "layers", var i, "self_attn", "v_proj", var p] => $"{Layer}{i}.attn.value.{p}",
        ["vision_model", "encoder", "layers", var i, "mlp", var fc, var p] => $"{Layer}{i}.ffn.{fc}.{p}",
        _ => null,
    };

    /// <summary>"encoder_layer_7" -> "7".</summary>
    private static string Number(string layer) =>
        layer.StartsWith("encoder_layer_", StringComparison.Ordinal) ? layer["encoder_layer_".Length..] : layer;
}
