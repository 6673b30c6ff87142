using System.Globalization;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.DynamicVit;

/// <summary>
/// DynamicViT (Rao et al., NeurIPS 2021, arXiv 2106.02034): small networks in front of three blocks say of each image which of its
/// tokens are worth keeping. They are trained together with the network, which is taught by what it was before; decisions are
/// drawn, and what is dropped is hidden from attention. Afterwards each image keeps a fixed number at each of them, or those that
/// are likelier to be kept than a threshold.
/// </summary>
public sealed record DynamicVit : TokenMethod
{
    private static readonly MethodSettings<DynamicVit> Known = new()
    {
        { "keep", m => m.Keep?.ToString(CultureInfo.InvariantCulture) ?? "target", (m, text) => text == "target"
            ? m with { Keep = null } : double.TryParse(text, CultureInfo.InvariantCulture, out double share) && share is > 0 and <= 1
            ? m with { Keep = share } : null,
            "share of the tokens that stays at each stage, of those of the stage before", "target or a number above 0, at most 1",
            nameof(Keep) },
        { "blocks", m => m.Blocks is null ? "quarters"
            : string.Join('+', m.Blocks), (m, text) => text == "quarters" ? m with { Blocks = null }
            : BlockList.Parse(text) is { } list ? m with { Blocks = list } : null,
            "blocks, from 0, in front of which tokens are dropped", "quarters or rising numbers with + between, such as 3+6+9",
            nameof(Blocks) },
        { "threshold", m => m.Threshold?.ToString(CultureInfo.InvariantCulture) ?? "none", (m, text) => text == "none"
            ? m with { Threshold = null } : double.TryParse(text, CultureInfo.InvariantCulture, out double p) && p is > 0 and < 1
            ? m with { Threshold = p } : null,
            "probability from which a token stays, so that images decide how many they are", "none or a number between 0 and 1",
            nameof(Threshold) },
        { "packed", m => m.Packed, (m, x) => m with { Packed = x },
            "no: dropped tokens are hidden from attention in training, as published; yes: they are gone, which takes less time" },
        { "distill", m => m.Distill, (m, x) => m with { Distill = x }, 0.0, double.PositiveInfinity,
            "weight of the difference from the answers of the network before" },
        { "token-weight", m => m.TokenWeight, (m, x) => m with { TokenWeight = x }, 0.0, double.PositiveInfinity,
            "weight of the difference of kept tokens from those of the network before" },
        { "ratio-weight", m => m.RatioWeight, (m, x) => m with { RatioWeight = x }, 0.0, double.PositiveInfinity,
            "weight of the difference between the share that is kept and the share that is to be" },
        { "backbone-rate", m => m.BackboneRate, (m, x) => m with { BackboneRate = x }, 0.0, 1.0,
            "learning rate of the network itself, as a share of the predictors'" },
        { "frozen", m => m.Frozen, (m, x) => m with { Frozen = x }, 0.0, 1.0,
            "share of the steps, at the beginning, in which only predictors learn" },
    };

    /// <inheritdoc/>
    public override string Name => "dynamicvit";

    /// <inheritdoc/>
    public override string Purpose => "trains predictors that say of each image which of its tokens stay";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override bool TrainsFirst => true;

    /// <inheritdoc/>
    public override IReadOnlyList<Refusal> Refuses => [.. base.Refuses, new(NetworkTraits.DropsTokens | NetworkTraits.HasAgents,
        "it hides tokens of images that have all of them, to learn which are worth keeping")];

    /// <inheritdoc/>
    public override NetworkTraits Leaves => Threshold is null ? base.Leaves : NetworkTraits.DropsTokens;

    /// <summary>ρ: of the patches floor(ρ · n) stay at the first stage, floor(ρ² · n) at the second and so on; null for as many as
    /// the target for multiply-adds lets stay.</summary>
    public double? Keep { get; init; }

    /// <summary>In front of which blocks tokens are dropped, by number from 0, rising; null for those after each quarter of the
    /// network, which are 3, 6 and 9 of 12.</summary>
    public IReadOnlyList<int>? Blocks { get; init; }

    /// <summary>After training a token stays whose probability to be kept is at least this, whatever number that makes; null for the
    /// number that <see cref="Keep"/> says.</summary>
    public double? Threshold { get; init; }

    /// <summary>Whether tokens that are dropped in a training step are gone, and not only hidden from attention.</summary>
    public bool Packed { get; init; }

    /// <summary>Weight of KL(answers of the network before || answers), the mean over the images.</summary>
    public double Distill { get; init; } = 0.5;

    /// <summary>Weight of the mean squared difference of the kept tokens behind the last norm from those of the network
    /// before.</summary>
    public double TokenWeight { get; init; } = 0.5;

    /// <summary>Weight of (share that is kept - share that is to be)², the mean over images and stages.</summary>
    public double RatioWeight { get; init; } = 2;

    /// <summary>Learning rate of the network as a share of that of its predictors.</summary>
    public double BackboneRate { get; init; } = 0.01;

    /// <summary>Share of the steps in which only predictors learn: random ones drop what the network needs.</summary>
    public double Frozen { get; init; } = 0.167;

    private protected override string ByGradients => "dynamicvit learns its predictors";

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        if (TrainSteps + FineTuneSteps == 0)
            throw new EspalierException("dynamicvit trains predictors, so that it needs steps, but TrainSteps is 0");
        base.Run(job);
    }

    /// <summary>How many of some patches stay at a stage, from 1.</summary>
    internal static int Kept(int patches, double keep, int stage) =>
        Math.Max(1, (int)Math.Floor(patches * Math.Pow(keep, stage) + 1e-9));

    /// <summary>Trains network and predictors with the network before as teacher.</summary>
    private protected override void Train(CompressionJob job)
    {
        Graph graph = job.Model.Graph;
        using Model before = job.Model.Copy();
        job.Train("predictors", TrainSteps + FineTuneSteps, new DynamicHook(this, graph, before.Graph));
        using var scope = new Scope();
        job.Log($"{Name}: {job.FromMasked(DynamicTraining.Difference(graph, job.Example(4)))}");
    }

    /// <summary>Not before its predictors have learnt anything.</summary>
    private protected override bool IsCompared => false;

    private protected override void CheckBlocks(TransformerBlocks blocks)
    {
        base.CheckBlocks(blocks);
        if (blocks.PrefixTokens == 0)
            throw new EspalierException("dynamicvit leaves a class token to answer, which the network does not have");
        BlockChecks.RequireClassHead(blocks, "dynamicvit hides dropped tokens from attention alone while it trains",
            "use topk or evit, which drop tokens in training as well");
        BlockChecks.RequirePlainAttention(blocks, Name);
    }

    private protected override string? OwnNumber => Keep is null ? null : nameof(Keep);

    private protected override TokenMethod Fitted(Graph graph, TransformerBlocks blocks)
    {
        if (Keep is not null) return this;
        var some = (DynamicVit)Mildest(graph, 1000, n => this with { Keep = 1 - n / 1000.0, Threshold = null });
        return some with { Threshold = Threshold };
    }

    private protected override void Edit(TransformerBlocks blocks)
    {
        IReadOnlyList<int> stages = BlockList.Of(Blocks, blocks, Name, [1, 2, 3]);
        int patches = blocks.Tokens - blocks.PrefixTokens;
        var rng = new Rng(Seed, key0: 10);
        for (int s = 0; s < stages.Count; s++)
        {
            GraphValue stream = blocks.Blocks[stages[s]].Input;
            KeepRule rule = Threshold is { } p ? KeepRule.AtLeast((float)Math.Log(p / (1 - p)))
                : KeepRule.Count(Kept(patches, Keep!.Value, s + 1));
            TokenPredictor.Create(stream.Shape[1], ref rng).InsertInto(blocks.Graph, stream, s, rule, blocks.PrefixTokens);
        }
    }
}
