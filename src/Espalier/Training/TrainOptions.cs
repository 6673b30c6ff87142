using System.Globalization;
using Espalier.Distributed;
using Espalier.Optim;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>
/// How a run goes. The defaults are those of APT's authors (SGD, momentum 0.9, rate 0.03, batch 72, clipping at 1).
/// </summary>
public sealed record TrainOptions
{
    /// <summary>Optimiser steps.</summary>
    public long Steps { get; init; } = 10_000;

    /// <summary>Pictures an optimiser step.</summary>
    public int BatchSize { get; init; } = 72;

    /// <summary>
    /// Micro-batches a step, each of BatchSize / GradientAccumulationSteps pictures. A step's micro-batches are all of one
    /// epoch: those left over at its end are not used.
    /// </summary>
    public int GradientAccumulationSteps { get; init; } = 1;

    public int EvalBatchSize { get; init; } = 32;

    /// <summary>Steps between evaluations; 0 for one at the end only. There is always one at the end.</summary>
    public long EvalEvery { get; init; } = 500;

    /// <summary>Steps between log points; each is the mean over the steps since the one before.</summary>
    public long LogEvery { get; init; } = 10;

    /// <summary>Steps between saves of the training state and model; 0 for the end only. A cancelled run saves as well.</summary>
    public long CheckpointEvery { get; init; } = 500;

    /// <summary>See <see cref="Optimizers.Names"/>.</summary>
    public string Optimizer { get; init; } = "sgd";

    /// <summary>The rate that the schedule is multiplied with.</summary>
    public float LearningRate { get; init; } = 0.03f;

    /// <summary>Of the SGD optimisers.</summary>
    public float Momentum { get; init; } = 0.9f;

    public float WeightDecay { get; init; }

    /// <summary>See <see cref="Schedules.Names"/>.</summary>
    public string Schedule { get; init; } = "cosine";

    /// <summary>Steps in which the rate rises to its full value; null for a twentieth of the run and at most 500.</summary>
    public long? WarmupSteps { get; init; }

    /// <summary>Steps at which the "multistep" schedule falls; none for half and three quarters of the run.</summary>
    public IReadOnlyList<long> Milestones { get; init; } = [];

    /// <summary>Limit of the gradients' joint norm; 0 for none.</summary>
    public float MaxGradNorm { get; init; } = 1;

    /// <summary>
    /// Limit the norm of each of the task's parameter groups on its own, and not that of all together: a group with large
    /// gradients then does not slow the others down.
    /// </summary>
    public bool ClipGroups { get; init; }

    /// <summary>Decay of the weights' averages, which are then what is evaluated and saved as model; null for none.</summary>
    public double? EmaDecay { get; init; }

    /// <summary>In which numbers linear layers multiply, in both directions: float32 or bfloat16, see <see cref="ProductPrecision"/>.
    /// </summary>
    public Precision Precision { get; init; } = Precision.Fp32;

    /// <summary>
    /// Keep only the results between sections of the network and compute the rest again in the backward pass: less memory for
    /// more time, and the same weights bit for bit. See <see cref="Graph.ActivationMemory"/>.
    /// </summary>
    public bool CheckpointActivations { get; init; }

    /// <summary>
    /// The parameters to train, as name patterns of parameters or layers with * and ?; none for all. The others stay bit for bit
    /// as they are, and so do the running statistics of batch norms of which no parameter is trained.
    /// </summary>
    public IReadOnlyList<string> TrainOnly { get; init; } = [];

    /// <summary>
    /// In so many steps at the beginning only what <see cref="FreezeExcept"/> names is trained: a new head on a backbone that knows
    /// something already would else pull it away by the first, large gradients.
    /// </summary>
    public long FreezeSteps { get; init; }

    /// <summary>As <see cref="TrainOnly"/>, in the first <see cref="FreezeSteps"/>.</summary>
    public IReadOnlyList<string> FreezeExcept { get; init; } = [];

    /// <summary>A new order of the training pictures in each epoch; else the data set's order.</summary>
    public bool Shuffle { get; init; } = true;

    /// <summary>Of everything random.</summary>
    public ulong Seed { get; init; } = 42;

    /// <summary>Threads that decode pictures; 0 to do it between the steps.</summary>
    public int DataThreads { get; init; } = 2;

    /// <summary>Where the run's files go, see <see cref="RunFolder"/>; null to write none.</summary>
    public string? OutputDir { get; init; }

    /// <summary>What the run's files are called.</summary>
    public string Name { get; init; } = "model";

    /// <summary>Go on where an earlier run of this name stopped; without one, the run starts at the beginning.</summary>
    public bool Resume { get; init; }

    /// <summary>
    /// The processes that train together, each on its share of a step's micro-batches; null for this one alone. The sum of their
    /// gradients is what one process has with as many micro-batches.
    /// </summary>
    public IRanks? Ranks { get; init; }

    /// <summary>
    /// Whether batch norms take the statistics of all ranks' images of a micro-batch in place of their own rank's, which are few
    /// where there are many ranks. Nothing changes where there is one.
    /// </summary>
    public bool SyncBatchNorm { get; init; }

    /// <summary>Micro-batches a step, of all ranks together: a multiple of <see cref="GradientAccumulationSteps"/> and of their number.
    /// </summary>
    public int MicroBatches
    {
        get
        {
            int all = GradientAccumulationSteps;
            while (all % (Ranks?.Count ?? 1) != 0) all += GradientAccumulationSteps;
            return all;
        }
    }

    /// <summary>Whether this process writes files and speaks: of several, the first.</summary>
    internal bool Writes => Ranks is null or { Rank: 0 };

    internal int MicroBatchSize => BatchSize / MicroBatches;

    internal long Warmup => WarmupSteps ?? Math.Min(500, Steps / 20);

    /// <summary>Whether something happens at this step every so many steps; the last step counts always.</summary>
    internal bool IsDue(long step, long every) => step == Steps || (every > 0 && step % every == 0);

    /// <exception cref="EspalierException">An option is out of its range; the message names it.</exception>
    public void Validate()
    {
        Require(Steps >= 1, $"Steps is {Steps}; a run has at least 1");
        Require(BatchSize >= 1, $"BatchSize is {BatchSize}; a batch has at least 1 picture");
        Require(GradientAccumulationSteps >= 1, $"GradientAccumulationSteps is {GradientAccumulationSteps}; it is at least 1");
        Require(BatchSize % GradientAccumulationSteps == 0,
            $"BatchSize {BatchSize} does not divide into {GradientAccumulationSteps} micro-batches; choose a multiple");
        Require(BatchSize % MicroBatches == 0,
            $"BatchSize {BatchSize} does not divide into {MicroBatches} micro-batches, for {Ranks?.Count} processes; choose a multiple");
        Require(EvalBatchSize >= 1, $"EvalBatchSize is {EvalBatchSize}; a batch has at least 1 picture");
        Require(EvalEvery >= 0 && CheckpointEvery >= 0,
            "EvalEvery and CheckpointEvery are numbers of steps, or 0 for the end only");
        Require(LogEvery >= 1, $"LogEvery is {LogEvery}; it is at least 1");
        Require(float.IsFinite(LearningRate) && LearningRate >= 0, $"LearningRate is {LearningRate}; it is 0 or more");
        Require(Momentum is >= 0 and < 1, $"Momentum is {Momentum}; it is in [0, 1)");
        Require(float.IsFinite(WeightDecay) && WeightDecay >= 0, $"WeightDecay is {WeightDecay}; it is 0 or more");
        Require(WarmupSteps is null or >= 0, $"WarmupSteps is {WarmupSteps}; it is 0 or more");
        Require(MaxGradNorm >= 0, $"MaxGradNorm is {MaxGradNorm}; it is above 0, or 0 for no limit");
        ProductPrecision.Of(Precision).Dispose();
        Require(EmaDecay is null or (>= 0 and < 1), $"EmaDecay is {EmaDecay}; it is in [0, 1)");
        Require(FreezeSteps == 0 || TrainOnly.Count == 0, "FreezeSteps and TrainOnly both say what is trained; give one of them");
        Require(FreezeSteps == 0 || (FreezeSteps > 0 && FreezeExcept.Count > 0),
            $"FreezeSteps is {FreezeSteps} with {FreezeExcept.Count} names; it is 0, or more with names of what is trained");
        Require(DataThreads >= 0, $"DataThreads is {DataThreads}; it is 0 or more");
    }

    /// <summary>The options that decide which weights come out; a run goes on only with the same.</summary>
    internal IEnumerable<(string Name, string Value)> Identity() =>
    [
        ("Steps", Text(Steps)),
        ("BatchSize", Text(BatchSize)),
        ("GradientAccumulationSteps", Text(MicroBatches)),
        ("Optimizer", Optimizer),
        ("LearningRate", Text(LearningRate)),
        ("Momentum", Text(Momentum)),
        ("WeightDecay", Text(WeightDecay)),
        ("Schedule", Schedule),
        ("WarmupSteps", Text(Warmup)),
        ("Milestones", string.Join(",", Milestones)),
        ("MaxGradNorm", Text(MaxGradNorm)),
        ("ClipGroups", ClipGroups ? "yes" : "no"),
        ("EmaDecay", EmaDecay is { } decay ? Text(decay) : "none"),
        ("Seed", Text(Seed)),
        ("Shuffle", Shuffle ? "yes" : "no"),
        ("FreezeSteps", Text(FreezeSteps)),
        ("FreezeExcept", string.Join(',', FreezeExcept)),
        ("Precision", $"{Precision}"),
        ("SyncBatchNorm", SyncBatchNorm && Ranks is { Count: > 1 and var count } ? $"over {count}" : "no"),
    ];

    private static string Text(IFormattable value) => value.ToString(null, CultureInfo.InvariantCulture);

    private static void Require(bool condition, string message)
    {
        if (!condition) throw new EspalierException($"{message}.");
    }
}
