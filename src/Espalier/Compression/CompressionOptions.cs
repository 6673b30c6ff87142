using System.Globalization;
using Espalier.Training;

namespace Espalier.Compression;

/// <summary>What every method is told.</summary>
public sealed record CompressionOptions
{
    /// <summary>How much is removed, and where.</summary>
    public SelectionOptions Selection { get; init; } = new() { TargetFlops = 0.5 };

    /// <summary>
    /// Whether what a removed channel would emit with zero weights goes into what follows, which is exact but for zero-padded
    /// borders; else it counts as zero, which is exact everywhere.
    /// </summary>
    public bool MoveConstants { get; init; }

    /// <summary>Rounds of removing and fine-tuning; 1 removes all at once.</summary>
    public int Rounds { get; init; } = 1;

    public PruningSchedule Schedule { get; init; } = PruningSchedule.Linear;

    /// <summary>Steps of the training that a method does before it removes anything (sparsity, soft pruning); 0 for none.</summary>
    public long TrainSteps { get; init; }

    /// <summary>Steps of training after the removal, over all rounds together; 0 for none.</summary>
    public long FineTuneSteps { get; init; }

    /// <summary>How any training goes; steps and name are set for each stage. With a folder a run can be resumed, see
    /// <see cref="CompressionJob.Train"/>.</summary>
    public TrainOptions Training { get; init; } = new() { BatchSize = 64, LearningRate = 0.01f };

    /// <summary>Label smoothing, mixing and the teacher of any training.</summary>
    public ClassifierTaskOptions Task { get; init; } = new();

    /// <summary>Training batches that a method looks at to judge channels.</summary>
    public int RankBatches { get; init; } = 20;

    /// <summary>Of what is random in a method.</summary>
    public ulong Seed { get; init; } = 42;

    /// <summary>Values of <see cref="ICompressionMethod.Settings"/> by name.</summary>
    public IReadOnlyDictionary<string, string> Settings { get; init; } = new Dictionary<string, string>();

    /// <summary>The part of <paramref name="steps"/> that falls to round <paramref name="round"/>, from 1.</summary>
    internal long Share(long steps, int round) => steps * round / Rounds - steps * (round - 1) / Rounds;

    /// <summary>What a training is called: with the round, where there are several.</summary>
    internal string Stage(string name, int round) =>
        Rounds == 1 ? name : string.Create(CultureInfo.InvariantCulture, $"{name} {round}/{Rounds}");

    /// <summary>A setting as a number.</summary>
    /// <exception cref="EspalierException">It is none, or out of its range.</exception>
    public double Number(string name, double usual, double low = double.NegativeInfinity, double high = double.PositiveInfinity)
    {
        if (!Settings.TryGetValue(name, out string? text)) return usual;
        if (double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) && value >= low && value <= high)
            return value;
        string range = double.IsFinite(low) || double.IsFinite(high)
            ? FormattableString.Invariant($" from {low} to {high}") : "";
        throw new EspalierException($"--set {name}={text}: it is a number{range}");
    }

    /// <summary>A setting as one of some words.</summary>
    /// <exception cref="EspalierException">It is none of them.</exception>
    public string Word(string name, params string[] words)
    {
        string value = Settings.GetValueOrDefault(name, words[0]);
        return words.Contains(value) ? value
            : throw new EspalierException($"--set {name}={value}: it is one of {string.Join(", ", words)}");
    }
}
