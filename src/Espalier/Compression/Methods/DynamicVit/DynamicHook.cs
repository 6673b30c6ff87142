using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression.Methods.DynamicVit;

/// <summary>
/// How network and predictors are trained together (arXiv 2106.02034, section 3.3): beside the loss by labels there is the
/// difference from the answers of the network before, that of the kept tokens, and that of the share which is kept from what it is
/// to be. Predictors learn at the run's rate, the network at a small share of it and at first not at all, class token and
/// positions never.
/// </summary>
internal sealed class DynamicHook : ITrainingHook
{
    /// <summary>Keeps the decisions' random numbers apart from others of the step.</summary>
    private const ulong NoiseStream = 0x6e_6f_69_73_65;

    private readonly DynamicVit options;
    private readonly DynamicTraining training;
    private readonly FrozenPass teacher;
    private readonly Dictionary<Tensor, float> rates = [];
    private readonly Tensor[] withoutDecay;

    /// <param name="network">With predictors.</param>
    /// <param name="before">A copy of it, whose predictors are taken out: the teacher.</param>
    public DynamicHook(DynamicVit options, Graph network, Graph before)
    {
        this.options = options;
        DynamicTraining.Whole(before);
        teacher = new FrozenPass(before, [before.Outputs[0], DynamicTraining.LastTokens(before, TransformerBlocks.Of(before))]);
        HashSet<Tensor> predictors = [.. TokenPredictor.Find(network).SelectMany(f => f.Predictor.Weights)];
        HashSet<Tensor> positions = [.. network.Nodes.Where(n => n.Op is AssembleTokensOp).SelectMany(n => n.Inputs)
            .Where(v => v.IsWeight).Select(v => v.Tensor)];
        foreach (var (_, p) in network.Parameters)
            if (!predictors.Contains(p)) rates.Add(p, positions.Contains(p) ? 0 : (float)options.BackboneRate);
        withoutDecay = [.. network.Parameters.Select(p => p.Value).Where(p => p.Rank == 1)];
        training = new DynamicTraining(network, options.Packed);
    }

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
        [.. options.Settings.Select(s => ($"DynamicVit{s.Property}", s.Of(options)))];

    /// <inheritdoc/>
    public IReadOnlyList<GraphValue> Watched => [.. training.Masks, training.Tokens];

    /// <inheritdoc/>
    public IReadOnlyList<Tensor> WithoutDecay => withoutDecay;

    /// <inheritdoc/>
    public IReadOnlyDictionary<Tensor, float> Rates => rates;

    /// <summary>Draws the noise of a stage [rows], for tests; null for what the step's random numbers give.</summary>
    internal Func<long, int, int, float[]>? Noise { get; init; }

    /// <inheritdoc/>
    public void BeforeForward(in StepContext context)
    {
        bool frozen = context.Step <= (long)(options.Frozen * context.TotalSteps);
        foreach (ParameterGroup group in context.Optimizer?.Groups ?? [])
            if (group.Parameters.Count > 0 && rates.TryGetValue(group.Parameters[0].Value, out float rate))
                group.LearningRateScale = frozen ? 0 : rate;
    }

    /// <inheritdoc/>
    public Graph ForStep(Graph network, in StepContext context)
    {
        Rng rng = context.Rng;
        ulong seed = rng.NextULong();
        long step = context.Step;
        training.Noise = (stage, rows) => Noise is null ? Logistic(seed, stage, rows) : Noise(step, stage, rows);
        return training.Graph;
    }

    /// <inheritdoc/>
    public Tensor? Loss(TrainingPass pass, in StepContext context)
    {
        Tensor[] wanted = teacher.Run(pass.Images);
        Tensor loss = F.KlDivergence(pass.Logits, wanted[0]) * (float)options.Distill;
        int stages = training.Masks.Count;
        for (int s = 0; s < stages; s++)
        {
            Tensor share = RatioLoss(pass[training.Masks[s]], Math.Pow(options.Keep!.Value, s + 1), training.Prefix, training.Patches);
            loss += share * (float)(options.RatioWeight / stages);
        }
        Tensor tokens = pass[training.Tokens];
        ReadOnlySpan<float> kept = options.Packed ? [] : pass[training.Masks[^1]].Span;
        return TokenLoss(tokens, wanted[1], kept, training.Prefix) is { } difference
            ? loss + difference * (float)options.TokenWeight : loss;
    }

    /// <summary>Mean over the images of (share of the patches that is kept - share that is to be)².</summary>
    /// <param name="mask">[rows, 1]; packed, without tokens that went before.</param>
    /// <param name="patches">Of an image.</param>
    internal static Tensor RatioLoss(Tensor mask, double target, int prefix, int patches)
    {
        RowSet rows = mask.Rows!;
        Tensor part = Tensor.Zeros(new Shape(rows.Images, rows.Rows));
        for (int b = 0; b < rows.Images; b++)
            for (int row = rows[b]; row < rows[b + 1]; row++)
                if (rows.Tokens[row] >= prefix) part.Span[b * rows.Rows + row] = 1f / patches;
        return F.Mean(F.Square(F.MatMul(part, mask) - (float)target));
    }

    /// <summary>Mean squared difference of kept tokens from the teacher's; null where none is kept.</summary>
    /// <param name="tokens">[rows, D].</param>
    /// <param name="wanted">[B · T, D], all tokens.</param>
    /// <param name="kept">1 for rows that count; empty where all do.</param>
    internal static Tensor? TokenLoss(Tensor tokens, Tensor wanted, ReadOnlySpan<float> kept, int prefix)
    {
        RowSet rows = tokens.Rows!, all = wanted.Rows!;
        List<int> student = [], teacher = [];
        for (int b = 0; b < rows.Images; b++)
        {
            for (int row = rows[b]; row < rows[b + 1]; row++)
            {
                if (rows.Tokens[row] < prefix || (!kept.IsEmpty && kept[row] == 0)) continue;
                student.Add(row);
                teacher.Add(all[b] + rows.Tokens[row]);
            }
        }
        return student.Count == 0 ? null : F.Mse(F.GatherRows(tokens, [.. student]), F.GatherRows(wanted, [.. teacher]));
    }

    /// <summary>The difference of two Gumbel noises.</summary>
    private static float[] Logistic(ulong seed, int stage, int rows)
    {
        var rng = new Rng(seed, NoiseStream, (ulong)stage);
        var noise = new float[rows];
        for (int i = 0; i < rows; i++)
        {
            double u = rng.NextDouble() + double.Epsilon;
            noise[i] = (float)(Math.Log(u) - Math.Log(1 - u));
        }
        return noise;
    }
}
