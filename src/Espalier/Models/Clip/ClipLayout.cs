using System.Text.RegularExpressions;
using Espalier.Imaging;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// A file of CLIP's weights: which tensors are of which tower, under the names of <see cref="ClipVision"/>, <see
/// cref="ClipResNet"/> and <see cref="ClipText"/>, and the sizes that their shapes say. OpenAI's and open_clip's names and those of Hugging Face's
/// transformers are read.
/// </summary>
internal sealed partial class ClipLayout
{
    /// <summary>What released weights have, where a file does not say.</summary>
    private const float UsualScale = 100;

    private readonly ModelTensors file;
    private readonly Preprocessing preprocessing;

    private ClipLayout(ModelTensors file, ClipBeside beside)
    {
        this.file = file;
        (Image, Text) = (new MappedTensors(file, owned: true), new MappedTensors(file));
        bool huggingFace = file.Shapes.ContainsKey("vision_model.embeddings.class_embedding");
        foreach (string stored in file.Shapes.Keys)
        {
            string name = huggingFace ? OfHuggingFace(stored) : stored.StartsWith("text.", StringComparison.Ordinal) ? stored[5..]
                : stored;
            Place(name, stored);
        }
        Config = SizesOf(beside.Activation).Checked(file.Source);
        preprocessing = beside.PreprocessingFor(Config.ImageSize);
    }

    public ClipConfig Config { get; }

    /// <summary>The image tower's tensors; they close the file.</summary>
    public MappedTensors Image { get; }

    /// <summary>The text tower's; none where the file has only the other.</summary>
    public MappedTensors Text { get; }

    /// <summary>Null where the file is of something else.</summary>
    /// <param name="beside">What the file does not say.</param>
    /// <exception cref="EspalierException">Its shapes are of no CLIP.</exception>
    public static ClipLayout? Of(ModelTensors file, Func<ClipBeside> beside)
    {
        if (file.Metadata.ContainsKey(ModelStructure.MetadataKey)) return null;
        bool known = file.Shapes.ContainsKey("visual.class_embedding")
            || file.Shapes.ContainsKey("visual.attnpool.positional_embedding")
            || (file.Shapes.ContainsKey("vision_model.embeddings.class_embedding")
                && file.Shapes.ContainsKey("visual_projection.weight"));
        return known ? new ClipLayout(file, beside()) : null;
    }

    /// <summary>The image tower, of shapes alone.</summary>
    public (Graph Graph, ModelCard Card) ImageTower()
    {
        using InitSkip _ = Init.ShapesOnly();
        ImageClassifier net = Config.IsResNet ? new ClipResNet(Config) : new ClipVision(Config);
        return (Traced(net.Trace), Card(Config.Description) with
        {
            Preprocessing = preprocessing, Positions = Config.IsResNet ? null : PositionResizeKind.BicubicAntialias,
        });
    }

    /// <summary>The text tower, of shapes alone.</summary>
    /// <exception cref="EspalierException">The file has none.</exception>
    public (Graph Graph, ModelCard Card) TextTower()
    {
        if (Config.Context == 0)
            throw new EspalierException($"{file.Source}: has CLIP's image tower only, so that it knows no texts");
        using InitSkip _ = Init.ShapesOnly();
        return (Traced(new ClipText(Config).Trace),
            Card($"CLIP's text transformer of {Config.TextLayers} blocks of width {Config.TextWidth}"));
    }

    private ModelCard Card(string description) =>
        new() { Architecture = "clip", Description = description, LogitScale = Scale() };

    private float Scale()
    {
        if (!file.Shapes.TryGetValue("logit_scale", out int[]? shape) || Formats.ArrayShape.Count(shape) != 1) return UsualScale;
        float scale = MathF.Exp(file.Read("logit_scale")[0]);
        return scale is > 0 and <= 1e6f ? scale
            : throw new EspalierException($"{file.Source}: its logit_scale is {scale}; it is damaged");
    }

    private Graph Traced(Func<Graph> trace)
    {
        try
        {
            return trace();
        }
        catch (Exception e) when (e is ArgumentException or ArithmeticException)
        {
            throw new EspalierException($"{file.Source}: its tensors do not fit together: {e.Message.ReplaceLineEndings(" ")}",
                e);
        }
    }

    private void Place(string name, string stored)
    {
        if (Unused().IsMatch(name)) return;
        int[] shape = file.Shapes[stored];
        MappedTensors tower = name.StartsWith("visual.", StringComparison.Ordinal) ? Image : Text;
        if (name.EndsWith(".attn.in_proj_weight", StringComparison.Ordinal) || name.EndsWith(".attn.in_proj_bias",
            StringComparison.Ordinal))
        {
            string block = name[..name.LastIndexOf('.')], part = name[(name.LastIndexOf('_') + 1)..];
            tower.AddParts(stored, $"{block}.q_proj.{part}", $"{block}.k_proj.{part}", $"{block}.v_proj.{part}");
        }
        else if (name == "visual.class_embedding" && shape.Length > 0) tower.Add(name, stored, [1, 1, shape[^1]]);
        else if (name == "visual.positional_embedding" && shape.Length == 2) tower.Add(name, stored, [1, .. shape]);
        else tower.Add(name, stored, transposed: stored is "visual_projection.weight" or "text_projection.weight");
    }

    /// <summary>OpenAI's name for one of Hugging Face's.</summary>
    private static string OfHuggingFace(string name)
    {
        string tower = name.StartsWith("vision_model.", StringComparison.Ordinal) ? "visual." : "";
        string[] path = name.Split('.');
        return path switch
        {
            ["visual_projection", "weight"] => "visual.proj",
            ["text_projection", "weight"] => "text_projection",
            [_, "embeddings", "class_embedding"] => "visual.class_embedding",
            [_, "embeddings", "patch_embedding", var p] => $"visual.conv1.{p}",
            [_, "embeddings", "token_embedding", var p] => $"token_embedding.{p}",
            [_, "embeddings", "position_embedding", _] => $"{tower}positional_embedding",
            [_, "pre_layrnorm", var p] => $"visual.ln_pre.{p}",
            [_, "post_layernorm", var p] => $"visual.ln_post.{p}",
            [_, "final_layer_norm", var p] => $"ln_final.{p}",
            [_, "encoder", "layers", var i, "self_attn", var w, var p] => $"{tower}transformer.resblocks.{i}.attn.{w}.{p}",
            [_, "encoder", "layers", var i, "layer_norm1", var p] => $"{tower}transformer.resblocks.{i}.ln_1.{p}",
            [_, "encoder", "layers", var i, "layer_norm2", var p] => $"{tower}transformer.resblocks.{i}.ln_2.{p}",
            [_, "encoder", "layers", var i, "mlp", "fc1", var p] => $"{tower}transformer.resblocks.{i}.mlp.c_fc.{p}",
            [_, "encoder", "layers", var i, "mlp", "fc2", var p] => $"{tower}transformer.resblocks.{i}.mlp.c_proj.{p}",
            _ => name,
        };
    }

    private ClipConfig SizesOf(ClipActivation activation)
    {
        bool text = Text.Shapes.ContainsKey("token_embedding.weight");
        int[] table = text ? Shape(Text, "token_embedding.weight", 2) : [0, 0];
        var config = new ClipConfig
        {
            Embedding = 0, ImageSize = 0, ImageWidth = 0, ImageLayers = [], Activation = activation,
            Context = text ? Shape(Text, "positional_embedding", 2)[0] : 0, Vocabulary = table[0], TextWidth = table[1],
            TextLayers = Count(Text, "transformer.resblocks."),
        };
        if (Image.Shapes.ContainsKey("visual.class_embedding"))
        {
            int[] patches = Shape(Image, "visual.conv1.weight", 4);
            int grid = Grid(Shape(Image, "visual.positional_embedding", 3)[1]);
            return config with
            {
                Embedding = Shape(Image, "visual.proj", 2)[1], ImageSize = Pixels(grid, patches[3]), ImageWidth = patches[0],
                ImageLayers = [Count(Image, "visual.transformer.resblocks.")], PatchSize = patches[3],
            };
        }
        return config with
        {
            Embedding = Shape(Image, "visual.attnpool.c_proj.weight", 2)[0],
            ImageSize = Pixels(Grid(Shape(Image, "visual.attnpool.positional_embedding", 2)[0]), 32),
            ImageWidth = Shape(Image, "visual.layer1.0.conv1.weight", 4)[0],
            ImageLayers = [.. Enumerable.Range(1, 4).Select(stage => Count(Image, $"visual.layer{stage}."))],
        };

        static int Pixels(int grid, int patch) => (int)Math.Min((long)grid * patch, int.MaxValue);
    }

    private int[] Shape(MappedTensors tower, string name, int rank) =>
        tower.Shapes.GetValueOrDefault(name) is { } shape && shape.Length == rank
        ? shape : throw new EspalierException($"{file.Source}: has no {name} of {rank} dimensions, which CLIP has");

    /// <summary>How many numbers follow a prefix in names.</summary>
    private static int Count(MappedTensors tower, string prefix) => tower.Shapes.Keys
        .Where(n => n.StartsWith(prefix, StringComparison.Ordinal)).Select(n =>
            n[prefix.Length..].Split('.')[0]).Distinct().Count();

    private int Grid(int positions)
    {
        int grid = (int)Math.Round(Math.Sqrt(Math.Max(positions - 1, 0)));
        return grid > 0 && grid * grid == positions - 1 ? grid
            : throw new EspalierException($"{file.Source}: its {positions} positions are no square grid and a class token");
    }

    /// <summary>Numbers that shapes say, masks, counters, and the scale, which is no tensor of a tower.</summary>
    [GeneratedRegex(@"^(input_resolution|context_length|vocab_size|logit_scale)$|\.(num_batches_tracked|position_ids)$"
        + @"|(^|\.)\w*mask$")]
    private static partial Regex Unused();
}
