using Espalier.Compression;
using Espalier.Data;
using Espalier.Models;
using Espalier.Training;

namespace Espalier.Cli.Running;

/// <summary>What `train` was asked to do.</summary>
internal sealed record TrainPlan
{
    /// <summary>A method that trains in a way of its own; null for plain training.</summary>
    public CompressionMethod? Method { get; init; }

    public required string Data { get; init; }

    public string? DataDir { get; init; }

    /// <summary>A picture that cannot be read ends the work; else it is left out and named in the end.</summary>
    public bool Strict { get; init; }

    /// <summary>File with the model's shape.</summary>
    public string? Config { get; init; }

    /// <summary>Or the shape's name.</summary>
    public string? ModelType { get; init; }

    /// <summary>Whether the network is a transformer, by its name or by the file to start from.</summary>
    public bool IsTransformer { get; init; } = true;

    /// <summary>How a new transformer's weights begin.</summary>
    public VitStart Start { get; init; }

    /// <summary>Of a new convolutional network: its channel counts times this; null for 1.</summary>
    public double? Width { get; init; }

    public int? ImageSize { get; init; }

    /// <summary>How images become the input: a preset's name or a file; null for the checkpoint's or the network's usual way.
    /// </summary>
    public string? Preprocess { get; init; }

    /// <summary>Checkpoint to start from, classifier and agents included.</summary>
    public string? Init { get; init; }

    /// <summary>Checkpoint to start from with a new head.</summary>
    public string? Pretrained { get; init; }

    /// <summary>Of the checkpoint to start from the averages of the weights.</summary>
    public bool AveragedWeights { get; init; }

    /// <summary>Null for the model's usual rate.</summary>
    public float? Dropout { get; init; }

    /// <summary>What it learns from beside the labels.</summary>
    public Recipe Recipe { get; init; } = new();

    public Augmentation Augmentation { get; init; } = Augmentation.Default;

    /// <summary>Share of the training images to choose the best checkpoint by; null for the usual one.</summary>
    public double? HoldOut { get; init; }

    /// <summary>Evaluate on the first so many images only.</summary>
    public int? EvalLimit { get; init; }

    /// <summary>Passes over the training images, which then say how many steps there are; null for the options' steps.</summary>
    public double? Epochs { get; init; }

    /// <summary>Passes over the training images in which only the head, and agents, are trained; null for none.</summary>
    public double? Freeze { get; init; }

    /// <summary>A run of this name may be lost.</summary>
    public bool Overwrite { get; init; }

    /// <summary>Nobody said how many images a step has: as many as suit a folder of this many.</summary>
    public bool BatchFollows { get; init; }

    /// <summary>Nobody said when to evaluate: ten times in the run.</summary>
    public bool EvaluationFollows { get; init; }

    public required TrainOptions Options { get; init; }
}
