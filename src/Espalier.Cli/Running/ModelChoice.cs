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

    /// <summary>The convolutional network to train: the checkpoint's as it is, pruned or whole, else a new one that takes classes
    /// and channels from the data.</summary>
    /// <exception cref="EspalierException">It cannot be read, does not fit the data, or contradicts an option.</exception>
    public static LoadedCnn CnnToTrain(TrainPlan plan, DatasetPair data)
    {
        CnnConfig? named = plan.ModelType is { } name ? CnnPresets.Get(name) : null;
        if (plan.Init is not { } path)
        {
            CnnConfig config = named! with
            {
                NumClasses = data.Train.Classes, Channels = data.Info.Channels, Width = plan.Width ?? 1,
                ImageSize = plan.ImageSize ?? named!.ImageSize,
            };
            return new LoadedCnn(CnnPresets.Create(config, plan.Options.Seed), new CnnStructure
            {
                Config = config, Dataset = data.Info.Name, ClassNames = [.. data.Train.ClassNames],
                Preprocessing = PreprocessingDefaults.For(config),
            });
        }
        if (plan.Width is not null)
            throw new EspalierException($"{path}: says its own shape, so --width has no meaning; leave it out");
        LoadedCnn cnn = CnnFile.Load(path, named);
        try
        {
            if (plan.ImageSize is { } size && size != cnn.Net.ImageSize)
                throw new EspalierException($"{path}: is for images of {cnn.Net.ImageSize} pixels, but --img-size says {size}; "
                    + "make them agree");
            if (cnn.Net.Channels is not (1 or 3))
                throw new EspalierException($"{path}: is for images of {cnn.Net.Channels} channels; "
                    + "images have 1 (grey) or 3 (RGB)");
            RequireClasses(cnn.Net.NumClasses, path, data.Train);
            string[]? classes = cnn.Net.NumClasses == data.Train.Classes ? [.. data.Train.ClassNames] : null;
            return cnn with { Structure = cnn.Structure with { Dataset = data.Info.Name, ClassNames = classes } };
        }
        catch
        {
            cnn.Dispose();
            throw;
        }
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

    /// <summary>A new network of the shape that --config or --model-type names, with the --img-size and --width that are given.
    /// </summary>
    /// <param name="what">What the verb wants it for, for the message.</param>
    public static ImageClassifier Create(ParseResult parse, string what)
    {
        string? file = parse.GetValue(Shared.Config);
        string name = file ?? parse.GetValue(Shared.ModelType)
            ?? throw new EspalierException($"say what to {what}: --model FILE, --model-type NAME or --config FILE.json");
        int? size = parse.GetValue(Shared.ImageSize);
        double? width = parse.GetValue(Shared.Width);
        if (file is null && CnnPresets.Names.Contains(name))
        {
            CnnConfig cnn = CnnPresets.Get(name);
            return CnnPresets.Create(cnn with { ImageSize = size ?? cnn.ImageSize, Width = width ?? 1 });
        }
        if (width is not null) throw NoWidth(name);
        if (file is not null) return new VisionTransformer(VitConfig.Read(file));
        VitConfig vit = VitPresets.Get(name);
        return new VisionTransformer(size is { } s ? (vit with { ImageSize = s }).Checked("--img-size") : vit);
    }

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
