using System.CommandLine;
using Espalier.Cli.Options;
using Espalier.Data;
using Espalier.Files;
using Espalier.Formats;
using Espalier.Models;
using Espalier.Onnx;
using Espalier.Tensors;

namespace Espalier.Cli.Running;

/// <summary>Which network is meant.</summary>
internal static class ModelChoice
{
    private const string FolderName = "folder";

    /// <summary>The larger presets are for images of 224 pixels whatever the data's size is; these follow the data, and nobody publishes
    /// weights of them.</summary>
    internal static readonly IReadOnlySet<string> Small = new HashSet<string>(StringComparer.OrdinalIgnoreCase)
    {
        "vit-small-28", "vit-tiny-28", "vit-conv-28",
    };

    /// <summary>
    /// The network to train: of the shape that the configuration file says, else of the preset, else the checkpoint's own, else the
    /// usual one for the data; with the weights of the checkpoint to start from. A preset takes classes, channels and (for small
    /// ones) size from the data; a checkpoint for other classes gets a new head.
    /// </summary>
    /// <returns>The network, and what became of the checkpoint.</returns>
    /// <exception cref="EspalierException">It does not fit the data or contradicts an option.</exception>
    public static (Model Model, string? Start) ToTrain(TrainPlan plan, DatasetPair data)
    {
        if (plan.Config is { } file) return OfConfig(Checked(VitConfig.Read(file), file, plan, data), plan, data);
        if ((plan.Init ?? plan.Pretrained) is not { } start) return (New(plan, data), null);
        if (plan.Width is not null)
            throw OwnShape(start);
        string? preset = plan.ModelType ?? (SaysItsNetwork(start) ? null : Usual(data));
        return Started(plan, data, new OpenOptions
        {
            Architecture = preset, Classes = data.Train.Classes, ImageSize = plan.ImageSize ?? Followed(preset, data),
            Seed = plan.Options.Seed,
        });
    }

    /// <summary>Whether a data set is a folder of pictures, by its name or path.</summary>
    public static bool IsFolder(string data) => data == FolderName || Datasets.All.All(i => i.Name != data);

    /// <summary>What is trained on a folder of photos where nobody says: small enough to learn something from some hundred of them
    /// in minutes, without a backbone that has seen millions.</summary>
    public static (string Type, int Size) UsualOfPhotos(int? size, bool transformer) =>
        transformer ? ("vit-small-28", size ?? 56) : ("resnet20", size ?? 64);

    /// <summary>The dropout of a transformer where nobody says: as the model's authors train it; small models, trained from scratch,
    /// and what is trained on are better off without.</summary>
    public static float UsualDropout(TrainPlan plan)
    {
        bool own = plan.Config is not null || (plan.ModelType is null && (plan.Init ?? plan.Pretrained) is { } start && SaysItsNetwork(start));
        string? preset = own ? null : plan.ModelType ?? Usual(plan.Data);
        return preset is null || Small.Contains(preset) ? 0 : 0.1f;
    }

    /// <summary>Whether a model file says itself which network it is of.</summary>
    /// <exception cref="EspalierException">It is missing or damaged.</exception>
    public static bool SaysItsNetwork(string path)
    {
        if (OnnxNetwork.Is(path)) return true;
        using SafetensorsReader? file = CheckpointFile.OpenSafetensors(path);
        return file is not null && ModelFormat.Kind(file.Metadata, path) is not null;
    }

    /// <summary>Whether what is to be trained is a transformer: by its name, else by the checkpoint to start from.</summary>
    public static bool IsTransformer(string? modelType, string? start)
    {
        if (modelType is not null) return !CnnPresets.Names.Contains(modelType);
        if (start is null || !SaysItsNetwork(start)) return true;
        if (!OnnxNetwork.Is(start))
        {
            using ModelReader reader = ModelReader.Open(start, new OpenOptions());
            return IsTransformer(reader.Graph);
        }
        using Model model = Model.Open(start);
        return IsTransformer(model.Graph);
    }

    public static bool IsTransformer(Graph graph) => graph.Nodes.Any(n => n.Op is AttentionOp);

    /// <summary>A new network of the shape that --config or --model-type names, with the --img-size and --width that are given.
    /// </summary>
    /// <param name="what">What the verb wants it for, for the message.</param>
    public static Model Create(ParseResult parse, string what)
    {
        string? file = parse.GetValue(Shared.Config);
        string name = file ?? parse.GetValue(Shared.ModelType)
            ?? throw new EspalierException($"say what to {what}: --model FILE, --model-type NAME or --config FILE.json");
        if (file is not null && (parse.GetValue(Shared.ModelType) is not null || parse.GetValue(Shared.ImageSize) is not null))
            throw new EspalierException($"{file}: gives the whole shape; leave --model-type and --img-size out");
        double? width = parse.GetValue(Shared.Width);
        if (width is not null && (file is not null || !CnnPresets.Names.Contains(name))) throw NoWidth(name);
        if (file is not null) return Model.FromModule(new VisionTransformer(VitConfig.Read(file)));
        return Model.Create(name, imageSize: parse.GetValue(Shared.ImageSize), width: width ?? 1);
    }

    /// <summary>A file's network is as wide as it is.</summary>
    public static EspalierException OwnShape(string source) => new($"{source}: says its own shape, so --width has no meaning; leave it out");

    /// <summary>Widths are of convolutional networks.</summary>
    public static EspalierException NoWidth(string source) =>
        new($"{source}: is a vision transformer, and --width is for convolutional networks; leave it out, or give its shape with "
            + "--config");

    /// <summary>Whether the data's labels are the model's classes.</summary>
    public static void RequireClasses(int classes, string source, IImageDataset data)
    {
        if (data.Classes > classes)
            throw new EspalierException($"{source}: the model has {classes} classes, but {data.Name} has "
                + $"{data.Classes}; use data that the model was made for");
    }

    private static Model New(TrainPlan plan, DatasetPair data)
    {
        string preset = plan.ModelType ?? Usual(data);
        return Model.Create(preset, data.Train.Classes, data.Info.Channels, plan.ImageSize ?? Followed(preset, data), plan.Options.Seed,
            plan.Width ?? 1, plan.Start);
    }

    private static string Usual(DatasetPair data) => Usual(data.Info.Name);

    private static string Usual(string data) =>
        data.StartsWith("fashion-mnist", StringComparison.Ordinal) ? "vit-small-28" : "ViT-B_16";

    /// <summary>The size of the data's images where the preset follows it; else null for its own.</summary>
    private static int? Followed(string? preset, DatasetPair data) => preset is not null && Small.Contains(preset)
        && data.Info.ImageSize is > 0 and <= 64 && data.Info.ImageSize % VitPresets.Get(preset).TokenPixels == 0
        ? data.Info.ImageSize : null;

    private static (Model Model, string? Start) OfConfig(VitConfig config, TrainPlan plan, DatasetPair data)
    {
        if ((plan.Init ?? plan.Pretrained) is null)
            return (Model.FromModule(new VisionTransformer(config, plan.Options.Seed, start: plan.Start)), null);
        return Started(plan, data, new OpenOptions { Config = config, Classes = config.NumClasses, Seed = plan.Options.Seed });
    }

    /// <summary>The network of the checkpoint to start from.</summary>
    private static (Model Model, string? Start) Started(TrainPlan plan, DatasetPair data, OpenOptions options)
    {
        string path = (plan.Init ?? plan.Pretrained)!;
        Model model = Model.Open(path, options with
        {
            NewHead = plan.Pretrained is not null, AveragedWeights = plan.AveragedWeights,
        });
        try
        {
            Checkpoints.RequirePictures(model.Channels, path);
            string start = $"{model.Report}";
            IReadOnlyList<string>? classes = model.Card.Classes;
            bool isNew = model.Report.Replaced.Count > 0 || model.Report.Missing.Count > 0;
            bool others = !isNew && classes is not null && model.NumClasses == data.Train.Classes
                && !classes.SequenceEqual(data.Train.ClassNames);
            if (others) model.ReplaceHead(model.NumClasses, plan.Options.Seed);
            if (others)
                start += $"; its classes were {ClassMatch.Some(classes!)}, so that the head is a new one for "
                    + ClassMatch.Some(data.Train.ClassNames);
            else if (isNew) start += $"; the head is a new one for {model.NumClasses} classes";
            return (model, start);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private static VitConfig Checked(VitConfig config, string source, TrainPlan plan, DatasetPair data)
    {
        if (plan.ModelType is not null)
            throw new EspalierException("--config and --model-type both give the model's shape; give one of them");
        if (plan.ImageSize is { } size && size != config.ImageSize)
            throw new EspalierException($"{source}: imageSize is {config.ImageSize}, but --img-size says {size}; "
                + "make them agree");
        if (config.Channels is not (1 or 3))
            throw new EspalierException($"{source}: channels is {config.Channels}; images have 1 (grey) or 3 (RGB)");
        RequireClasses(config.NumClasses, source, data.Train);
        return config;
    }
}
