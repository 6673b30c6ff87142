using System.CommandLine;
using Espalier.Cli.Options;
using Espalier.Data;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Cli.Running;

/// <summary>Finds and reads the checkpoint that a verb works on.</summary>
internal static class Checkpoints
{
    private const string Shipped = "models/apt-fashion-mnist.safetensors";

    public static string Required(ParseResult parse) => parse.GetValue(Shared.Model)
        ?? throw new EspalierException("say which checkpoint with --model FILE");

    /// <summary>The model that comes with the repository: in the current folder, the program's, or one above them.</summary>
    public static string OrShipped(ParseResult parse) => parse.GetValue(Shared.Model) ?? OrShipped();

    /// <inheritdoc cref="OrShipped(ParseResult)"/>
    public static string OrShipped()
    {
        foreach (string start in new[] { Directory.GetCurrentDirectory(), AppContext.BaseDirectory })
            for (DirectoryInfo? folder = new(start); folder is not null; folder = folder.Parent)
                if (Path.Combine(folder.FullName, Shipped) is var path && File.Exists(path)) return path;
        throw new EspalierException($"there is no {Shipped} here or above the program; say which checkpoint with --model FILE");
    }

    /// <summary>Opens it for inference, with the shape, threshold and precision that the options give.</summary>
    public static Session Open(ParseResult parse, string path, SessionOptions? options = null)
    {
        float? threshold = parse.GetValue(Shared.Threshold);
        double? share = parse.GetValue(Shared.KeepShare);
        if (threshold is not null && share is not null)
            throw new EspalierException("--threshold and --keep-share both say what the agents drop; give one of them");
        if (parse.GetValue(Shared.Precision) is { } name)
            options = (options ?? new SessionOptions()) with { Precision = Enum.Parse<Precision>(name, ignoreCase: true) };
        RefuseWidth(parse, path);
        Session model = Session.Open(path, Shape(parse), options);
        try
        {
            RequirePictures(model.Channels, path);
            model.Preprocessing = PreprocessChoice.Of(parse, model.ImageSize, model.Channels, model.Preprocessing);
            if (parse.CommandResult.Command.Options.Contains(Shared.Classes) && parse.GetValue(Shared.Classes) is { } names)
                model.ClassNames = ClassNames(names, model.NumClasses);
            if (threshold is null && share is null) return model;
            RequireAgents(model.AgentLayers.Count > 0, path, threshold is null ? "--keep-share" : "--threshold");
            model.Pruning = share is null ? Pruning.Threshold(threshold!.Value) : Pruning.KeepShare(share.Value);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private static string[] ClassNames(string file, int classes)
    {
        string[] names = file == Shared.ImageNetName ? [.. ImageNet.ClassNames]
            : [.. SmallFile.ReadText(file, 1 << 20, "a list of classes").Split('\n').Select(l => l.Trim()).Where(l => l.Length > 0)];
        return names.Length == classes ? names
            : throw new EspalierException($"{file}: has {names.Length} names, one a line, and the model {classes} classes; give the list that "
                + "it was trained with");
    }

    /// <summary>The checkpoint that --model names, else a new network of the shape that the other options name.</summary>
    /// <param name="what">What the verb wants it for, for the message.</param>
    /// <param name="anyInput">Whether it may be of something else than pictures.</param>
    public static Model OpenOrCreate(ParseResult parse, string what, bool anyInput = false)
    {
        string? path = parse.GetValue(Shared.Model);
        if (path is not null) RefuseWidth(parse, path);
        Model model = path is null ? ModelChoice.Create(parse, what) : Model.Open(path, Shape(parse) with { AnyInput = anyInput });
        try
        {
            if (anyInput && model.Channels == 0) return model;
            RequirePictures(model.Channels, path ?? model.Description);
            Preprocessing p = PreprocessChoice.Of(parse, model.ImageSize, model.Channels, model.Card.Preprocessing);
            model.Card = model.Card with { Preprocessing = p };
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>What --config, --model-type and --img-size say of a file's network.</summary>
    public static OpenOptions Shape(ParseResult parse) => new()
    {
        ImageSize = parse.GetValue(Shared.ImageSize),
        Architecture = parse.GetValue(Shared.ModelType),
        Config = parse.GetValue(Shared.Config) is { } file ? VitConfig.Read(file) : null,
        AveragedWeights = parse.GetValue(Shared.Averaged),
    };

    private static void RefuseWidth(ParseResult parse, string path)
    {
        if (parse.GetValue(Shared.Width) is not null) throw ModelChoice.OwnShape(path);
    }

    /// <summary>Whether images of so many channels are in picture files.</summary>
    public static void RequirePictures(int channels, string source)
    {
        if (channels is not (1 or 3))
            throw new EspalierException($"{source}: is for images of {channels} channels; images have 1 (grey) or 3 (RGB)");
    }

    /// <summary>Whether a network answers with classes.</summary>
    public static void RequireClassifier(Session model, string path)
    {
        if (model.GivesFeatures) throw HasNoHead(path);
    }

    public static EspalierException HasNoHead(string path) =>
        new($"{path}: has no head, so it gives features and no classes; use embed, or train a head for it");

    /// <summary>Whether an option that says what agents drop has a meaning.</summary>
    public static void RequireAgents(bool there, string path, string option)
    {
        if (!there) throw new EspalierException($"{path}: has no agents, so {option} has no meaning; leave it out");
    }
}
