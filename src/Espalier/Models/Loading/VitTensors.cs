using System.Text.Json;

namespace Espalier.Models;

/// <summary>What the tensors of a file say of a vision transformer: its form, and its sizes where they are those of a published one.</summary>
internal static class VitTensors
{
    /// <summary>Heads of published widths and depths.</summary>
    private static readonly Dictionary<(int Width, int Layers), int> PublishedHeads = new()
    {
        [(192, 12)] = 3, [(384, 12)] = 6, [(768, 12)] = 12, [(1024, 24)] = 16, [(1280, 32)] = 16, [(1152, 27)] = 16,
    };

    /// <summary>What the network has beside the plain one.</summary>
    /// <param name="classes">The classes of a head that the file may lack; null where none is wanted.</param>
    /// <param name="newHead">Whether a head is to be replaced, and with it what is between the class token and it.</param>
    /// <exception cref="EspalierException">Parts exclude one another, or the file beside it says an activation that is not known.</exception>
    public static VitForm Form(ModelTensors file, int? classes, bool newHead)
    {
        // A file that says itself what it is of is the plain one, whatever else is in it.
        if (file.Metadata.ContainsKey(ModelStructure.MetadataKey)) return new VitForm();
        bool Has(string name) => file.Shapes.ContainsKey(name);
        string block = VitNames.Layer + "0.";
        bool classToken = Has(VitNames.Embeddings + "cls_token"), mean = Has("fc_norm.weight"), siglip = file.Layout == VitLayout.HuggingFaceSiglip;
        if (mean && Has(VitNames.Norm + "weight"))
            throw new EspalierException($"{file.Source}: has norm and fc_norm; is it of another network?");
        int[]? head = file.Shapes.GetValueOrDefault("head.weight");
        int width = file.Shapes.GetValueOrDefault(VitNames.Norm + "weight") is [var normed] ? normed : 0;
        if (classToken && Has(VitNames.Pool + "probe"))
            throw new EspalierException($"{file.Source}: has a class token beside attention that pools all tokens, which no network does that "
                + "is read");
        JsonElement? beside = VisionBeside(file);
        return new VitForm
        {
            // Without patches it is no transformer at all, which is said elsewhere.
            ClassToken = classToken || !Has(VitNames.Embeddings + "patch_embeddings.weight"),
            Registers = file.Shapes.GetValueOrDefault(VitNames.Embeddings + "reg_token") is [_, var registers, _] ? registers : 0,
            NormBefore = Has("transformer.norm_pre.weight"), LayerScale = Has(block + "attn_scale"),
            QueryKeyNorm = Has(block + "attn.q_norm.weight"), GatedMlp = Has(block + "ffn.gate.weight"),
            Pool = Has(VitNames.Pool + "probe") && !(siglip && head is not null) ? VitPool.Attention
                : mean || (!classToken && Has(VitNames.Positions)) ? VitPool.Mean
                : head is [_, var read] && width > 0 && read == 2L * width ? VitPool.ClassAndMean : VitPool.ClassToken,
            NormAfterPool = mean, PreLogits = Has("pre_logits.fc.weight") && !newHead,
            Head = head is not null || classes is not null || file.Layout == VitLayout.Own,
            TanhGelu = Tanh(file, beside) ?? siglip,
            // CLIP's norms are PyTorch's.
            Epsilon = Number(beside, "layer_norm_eps") ?? (file.Layout == VitLayout.HuggingFace ? 1e-12f : IsClip(file) ? 1e-5f : 1e-6f),
        }.Checked(file.Source);
    }

    /// <summary>Whether it is of CLIP's image tower under other names: a norm in front of the blocks, and patches without a bias.</summary>
    public static bool IsClip(ModelTensors file) => file.Shapes.ContainsKey("transformer.norm_pre.weight")
        && file.IsLeftOut(VitNames.Embeddings + "patch_embeddings.bias");

    /// <summary>
    /// The sizes of a network without a name: of those that have no head, or have parts that the plain one lacks, as DINOv2, MAE and
    /// SigLIP do, whose heads are known by their width; or of any whose config.json lies beside it. Null of others.
    /// </summary>
    public static VitConfig? Sizes(ModelTensors file)
    {
        if (file.Layout == VitLayout.Own || file.Shapes.GetValueOrDefault(VitNames.Embeddings + "patch_embeddings.weight")
            is not [var width, var channels, var patch, var other] || patch != other || patch < 1) return null;
        int layers = file.Shapes.Keys.Where(n => n.StartsWith(VitNames.Layer, StringComparison.Ordinal))
            .Select(n => n[VitNames.Layer.Length..].Split('.')[0]).Distinct().Count();
        if (file.Shapes.GetValueOrDefault($"{VitNames.Layer}0.ffn.fc1.weight") is not [var hidden, _]) return null;
        int? heads = (int?)Number(VisionBeside(file), "num_attention_heads");
        bool marked = !file.Shapes.ContainsKey("head.weight") || file.Shapes.Keys.Any(n => n == VitNames.Layer + "0.attn_scale"
            || n.StartsWith(VitNames.Pool, StringComparison.Ordinal) || n.StartsWith("decoder", StringComparison.Ordinal));
        if (heads is null && marked && PublishedHeads.TryGetValue((width, layers), out int published)) heads = published;
        // DINOv2's giant, and SigLIP's, which is as wide and as deep.
        if (heads is null && marked && (width, layers) == (1536, 40))
            heads = file.Shapes.ContainsKey(VitNames.Layer + "0.ffn.gate.weight") ? 24 : file.Shapes.ContainsKey(VitNames.Pool + "probe") ? 16 : null;
        if (heads is null) return null;
        var config = new VitConfig
        {
            HiddenSize = width, Channels = channels, PatchSize = patch, ImageSize = patch, NumLayers = layers, MlpDim = hidden,
            NumHeads = heads.Value, Distilled = file.Shapes.ContainsKey("head_dist.weight"),
            NumClasses = file.Shapes.GetValueOrDefault("head.weight") is [var classes, ..] ? classes : 1,
        };
        return Grid(file, config).Checked(file.Source);
    }

    /// <summary>A shape with the image size that a file's position embeddings are for.</summary>
    /// <exception cref="EspalierException">They are no square grid.</exception>
    public static VitConfig Grid(ModelTensors file, VitConfig shape)
    {
        if (file.Shapes.GetValueOrDefault(VitNames.Positions) is not [1, var tokens, _]) return shape;
        int prefix = Form(file, null, newHead: false).Prefix(shape), patches = tokens - prefix;
        int grid = (int)Math.Round(Math.Sqrt(Math.Max(patches, 0)));
        if (grid < 1 || grid * grid != patches)
            throw new EspalierException($"{file.Source}: its {tokens} position embeddings, {prefix} of them for "
                + "extra tokens, are no square grid; is it of another network?");
        long side = (long)grid * shape.TokenPixels;
        return shape with { ImageSize = (int)Math.Min(side, int.MaxValue) };
    }

    /// <summary>How its authors stretch positions to another image size; null for Google's way.</summary>
    public static PositionResizeKind? Resizing(ModelTensors file, VitConfig config, VitForm form)
    {
        bool masked = file.Shapes.ContainsKey("mask_token");
        bool deit = config.Distilled || config.Preset?.StartsWith("DeiT", StringComparison.OrdinalIgnoreCase) == true;
        return file.Layout switch
        {
            VitLayout.Own => null,
            VitLayout.Torchvision => PositionResizeKind.BicubicAlignCorners,
            // Meta's own files of DINOv2 and of MAE have a token for what is masked, timm's have none.
            VitLayout.Timm when masked && form.LayerScale && form.Registers == 0 => PositionResizeKind.BicubicOffset,
            VitLayout.Timm when !deit && (!masked || form.LayerScale) => PositionResizeKind.BicubicAntialias,
            _ => PositionResizeKind.Bicubic,
        };
    }

    private static bool? Tanh(ModelTensors file, JsonElement? beside) =>
        beside is not { } config || !config.TryGetProperty("hidden_act", out JsonElement act) ? null : act.ToString() switch
        {
            "gelu" => false,
            "gelu_pytorch_tanh" or "gelu_new" or "gelu_fast" => true,
            var unknown => throw new EspalierException($"{file.Source}: the config.json beside it says the activation '{unknown}'; gelu and "
                + "gelu_pytorch_tanh are read"),
        };

    private static float? Number(JsonElement? json, string name) => json is { } config && config.TryGetProperty(name, out JsonElement value)
        && value.ValueKind == JsonValueKind.Number && value.TryGetSingle(out float number) ? number : null;

    /// <summary>What Hugging Face's config.json beside a file of its names says of the images' network.</summary>
    private static JsonElement? VisionBeside(ModelTensors file)
    {
        if (file.Layout is not (VitLayout.HuggingFace or VitLayout.HuggingFaceDino or VitLayout.HuggingFaceSiglip)) return null;
        if (JsonBeside.Read(file.Source, "config.json") is not { } config) return null;
        return config.TryGetProperty("vision_config", out JsonElement vision) && vision.ValueKind == JsonValueKind.Object ? vision : config;
    }
}
