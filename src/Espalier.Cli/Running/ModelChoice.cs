using System.CommandLine;
using Espalier.Cli.Options;
using Espalier.Data;
using Espalier.Models;

namespace Espalier.Cli.Running;

/// <summary>Which shape the model has.</summary>
internal static class ModelChoice
{
    /// <summary>The larger presets are for images of 224 pixels whatever the data's size is; these follow the data.</summary>
    private static readonly HashSet<string> Small = new(StringComparer.OrdinalIgnoreCase) { "vit-small-28", "vit-tiny-28" };

    /// <summary>What a model is built with.</summary>
    /// <param name="Preset">Its name, where it has one.</param>
    public sealed record Choice(VitConfig Config, string? Preset)
    {
        /// <summary>As the model's authors train it; small models, trained from scratch, are better off without.</summary>
        public float DefaultDropout => Preset is null || Small.Contains(Preset) ? 0 : 0.1f;
    }

    /// <summary>
    /// The shape to train: the configuration file's, else the preset's, else that of the checkpoint to start from, else the
    /// usual one for the data. Files say all; a preset takes classes, channels and (for small ones) size from the data.
    /// </summary>
    /// <exception cref="EspalierException">It does not fit the data or contradicts an option.</exception>
    public static Choice ToTrain(TrainPlan plan, DatasetPair data)
    {
        string? start = plan.Init ?? plan.Pretrained;
        if (plan.Config is { } file) return new Choice(Checked(VitConfig.Read(file), file, plan, data), null);
        if (plan.ModelType is null && start is not null && ModelFile.ReadStructure(start) is { } known)
            return new Choice(OfCheckpoint(known.Config, start, plan, data), null);
        string preset = plan.ModelType
            ?? (data.Info.Name.StartsWith("fashion-mnist", StringComparison.Ordinal) ? "vit-small-28" : "ViT-B_16");
        VitConfig shape = VitPresets.Get(preset);
        bool follows = Small.Contains(preset) && data.Info.ImageSize % shape.PatchSize == 0
            && data.Info.ImageSize is > 0 and <= 64;
        shape = shape with
        {
            NumClasses = data.Train.Classes,
            Channels = start is null ? data.Info.Channels : shape.Channels,
            ImageSize = plan.ImageSize ?? (follows ? data.Info.ImageSize : shape.ImageSize),
        };
        return new Choice(shape.Checked(preset), preset);
    }

    /// <summary>
    /// The shape of a finished checkpoint where the user gives one: a file's as it stands; a preset's with the classes,
    /// channels and image size that the checkpoint's tensors have. Null to go by the checkpoint's own structure block.
    /// </summary>
    public static VitConfig? OfFinished(string checkpoint, string? config, string? modelType)
    {
        if (config is not null && modelType is not null)
            throw new EspalierException("--config and --model-type both give the model's shape; give one of them");
        if (config is not null) return VitConfig.Read(config);
        return modelType is null ? null : ModelFile.FitTo(checkpoint, VitPresets.Get(modelType));
    }

    /// <summary>The shape that --config or --model-type names, with the --img-size that is given.</summary>
    /// <param name="what">What the verb wants a shape for, for the message.</param>
    public static VitConfig Named(ParseResult parse, string what)
    {
        if (parse.GetValue(Shared.Config) is { } config) return VitConfig.Read(config);
        VitConfig shape = VitPresets.Get(parse.GetValue(Shared.ModelType)
            ?? throw new EspalierException($"say what to {what}: --model FILE, --model-type NAME or --config FILE.json"));
        return parse.GetValue(Shared.ImageSize) is { } size ? (shape with { ImageSize = size }).Checked("--img-size") : shape;
    }

    /// <summary>Whether the data's labels are the model's classes.</summary>
    public static void RequireClasses(int classes, string source, IImageDataset data)
    {
        if (data.Classes > classes)
            throw new EspalierException($"{source}: the model has {classes} classes, but {data.Name} has "
                + $"{data.Classes}; use data that the model was made for");
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

    private static VitConfig OfCheckpoint(VitConfig config, string source, TrainPlan plan, DatasetPair data)
    {
        if (plan.ImageSize is { } size) config = config with { ImageSize = size };
        // As in fine-tuning on other data: the head is then a new one.
        if (data.Train.Classes != config.NumClasses) config = config with { NumClasses = data.Train.Classes };
        return config.Checked(source);
    }
}
