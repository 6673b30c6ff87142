using System.Globalization;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression.Methods.SPVit;

/// <summary>How gates are drawn and what they learn (arXiv 2111.11802, sections 3.2 and 3.3).</summary>
internal static class SPGates
{
    /// <summary>A relaxed Bernoulli of temperature 1 with p = sigmoid(g), whose forward value is 0 or 1; its slope by g is
    /// soft (1 - soft).</summary>
    /// <param name="u">Uniform in [0, 1).</param>
    public static (double Logit, double Hard, double Soft) Sample(double g, double u)
    {
        double logit = Math.Log(u) - Math.Log(1 - u) + g;
        return (logit, logit > 0 ? 1 : 0, LearnedNumbers.Sigmoid(logit));
    }

    /// <summary>The slope by g of the indicator [p > 0.5] + sigmoid(p - 0.5) - its own value, which costs are counted by.
    /// </summary>
    public static double IndicatorSlope(double g)
    {
        double p = LearnedNumbers.Sigmoid(g), s = LearnedNumbers.Sigmoid(p - 0.5);
        return s * (1 - s) * p * (1 - p);
    }

    /// <summary>What the 1 x 1 convolution, the 3 x 3 one and attention are multiplied with. A gate counts as open where all
    /// simpler ones are.</summary>
    public static double[] Factors(double[] open)
    {
        double z1 = open[0], z2 = z1 * open[1], z3 = z2 * open[2];
        return [z1 * (1 - z2) * (1 - z3), z2 * (1 - z3), z3];
    }

    /// <summary>The gates' gradient from that of the factors. Of gates that are open the most complex one alone learns from the
    /// network's loss.</summary>
    public static double[] Gradient(double[] open, double[] factors)
    {
        double a = open[0], b = open[1], c = open[2], z1 = a, z2 = a * b, z3 = z2 * c;
        double d1 = factors[0] * (1 - z2) * (1 - z3), d2 = (factors[1] - factors[0] * z1) * (1 - z3);
        double d3 = factors[2] - factors[1] * z2 - factors[0] * z1 * (1 - z2);
        return [z2 == 1 ? 0 : d1 + d2 * b + d3 * b * c, z3 == 1 ? 0 : d2 * a + d3 * a * c, d3 * a * b];
    }
}

/// <summary>The gates of one layer: numbers that are trained, of which some are open now.</summary>
internal sealed class GateNumbers(int count, double initial)
{
    private readonly LearnedNumbers raw = new(count, initial);
    private readonly double[] slopes = new double[count], gradient = new double[count];

    /// <summary>g, p = sigmoid(g).</summary>
    public double[] Values => raw.Values;

    /// <summary>1 for gates that are open, 0 for others.</summary>
    public double[] Hard { get; } = [.. Enumerable.Repeat(1.0, count)];

    public void Sample(Func<double> uniform)
    {
        for (int i = 0; i < count; i++)
        {
            (_, Hard[i], double soft) = SPGates.Sample(Values[i], uniform());
            slopes[i] = soft * (1 - soft);
        }
    }

    /// <summary>Open where p is above one half.</summary>
    public void Evaluate()
    {
        for (int i = 0; i < count; i++) Hard[i] = Values[i] > 0 ? 1 : 0;
    }

    /// <param name="values">The gradient of the network's loss by what was drawn.</param>
    public void Learn(double[] values)
    {
        for (int i = 0; i < count; i++) gradient[i] += values[i] * slopes[i];
    }

    /// <param name="costs">The gradient of the penalty by the indicators.</param>
    public void Step(double[] costs, double rate)
    {
        for (int i = 0; i < count; i++) gradient[i] += costs[i] * SPGates.IndicatorSlope(Values[i]);
        raw.Step(gradient, rate);
        Array.Clear(gradient);
    }

    public void Save(StateWriter state) => raw.Save(state);

    public void Load(StateReader state) => raw.Load(state);
}

/// <summary>Trains the gates of all blocks beside the network: drawn anew for each pass, pushed to a target of cost.</summary>
/// <param name="costs">Of each block.</param>
/// <param name="rest">What the network costs besides.</param>
/// <param name="target">The share of all that is to be left.</param>
/// <param name="uniform">Where the draws of a pass come from; null for the step's random numbers.</param>
internal sealed class GateSearch(
    IReadOnlyList<SearchedBlock> blocks, BlockCost[] costs, double rest, SPVit options, double target,
    Func<StepContext, Func<double>>? uniform = null) : ITrainingHook
{
    private readonly double whole = rest + blocks.Select((b, i) => costs[i].Of(SearchedBlock.Attention, b.UnitCount)).Sum();

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        .. options.Settings.Select(s => ($"SPVit{s.Property}", s.Of(options))),
        ("SPVitTarget", target.ToString("R", CultureInfo.InvariantCulture)),
        ("SPVitGates", string.Join(' ', Gates.Select(g => g.Values.Length))),
    ];

    // Convolutions leave a class token to itself: without any attention it would see nothing of the image.
    private readonly bool needsAttention = blocks.Any(b => b.HasPrefix);

    /// <summary>The share of the cost that the gates that are open now leave.</summary>
    public double Share => (rest + blocks.Select((b, i) => costs[i].Of(b.Operation, b.OpenUnits)).Sum()) / whole;

    /// <summary>The least share: blocks of one hidden unit, and nothing in attention's place but where one has to stay.</summary>
    public double Least
    {
        get
        {
            double least = rest + blocks.Select((b, i) => costs[i].Of(b.LeastOperation, b.Units is null ? b.UnitCount : 1)).Sum();
            bool added = needsAttention && blocks.All(b => b.LeastOperation != SearchedBlock.Attention);
            return (least + (added ? costs.Min(c => c.Attention) : 0)) / whole;
        }
    }

    private IEnumerable<GateNumbers> Gates => blocks.SelectMany(b => new[] { b.Operations, b.Units }).OfType<GateNumbers>();

    /// <inheritdoc/>
    public void BeforeForward(in StepContext context)
    {
        Rng step = context.Rng;
        var rng = new Rng(step.NextULong(), key0: 11);
        Func<double> draw = uniform?.Invoke(context) ?? (() => rng.NextDouble());
        foreach (GateNumbers gates in Gates) gates.Sample(draw);
        foreach (SearchedBlock block in blocks) block.Open();
    }

    /// <summary>Gradients are taken before the optimiser sees them: it trains no gates.</summary>
    public void AfterBackward(in StepContext context)
    {
        foreach (SearchedBlock block in blocks) block.TakeGradients();
    }

    /// <inheritdoc/>
    public void AfterStep(long step)
    {
        Evaluate();
        double push = 2 * options.Lambda * (Share - target) / whole;
        for (int b = 0; b < blocks.Count; b++)
        {
            if (blocks[b].Operations is { } z) z.Step(Array.ConvertAll(Slopes(z.Hard, costs[b]), s => push * s), options.Rate);
            blocks[b].Units?.Step([.. Enumerable.Repeat(push * costs[b].Unit, blocks[b].UnitCount)], options.Rate);
        }
        Evaluate();
    }

    /// <summary>Opens what the gates say without chance, so that an evaluation sees it.</summary>
    public void Evaluate()
    {
        foreach (GateNumbers gates in Gates) gates.Evaluate();
        foreach (SearchedBlock block in blocks) block.Open();
    }

    /// <summary>
    /// Closes gates where the search has ended above the target, the lowest first, until it is met; of equal ones those of hidden
    /// units first, one of each layer in turn. A layer keeps one unit.
    /// </summary>
    public void MeetTarget()
    {
        foreach (GateNumbers units in blocks.Select(b => b.Units).OfType<GateNumbers>())
            units.Hard[Array.IndexOf(units.Values, units.Values.Max())] = 1;
        if (needsAttention && blocks.All(b => b.Operation != SearchedBlock.Attention))
            Array.Fill(blocks.MaxBy(b => b.Operations!.Values.Min())!.Operations!.Hard, 1);
        double left = Share * whole;
        foreach (var (block, cost, unit, below) in Closings())
        {
            if (left <= target * whole) break;
            if (block.Operation <= below || (unit >= 0 && (block.Units!.Hard[unit] == 0 || block.OpenUnits == 1))) continue;
            if (unit < 0 && needsAttention && block.Operation == SearchedBlock.Attention
                && blocks.Count(b => b.Operation == SearchedBlock.Attention) == 1) continue;
            left -= cost.Of(block.Operation, block.OpenUnits);
            if (unit >= 0) block.Units!.Hard[unit] = 0;
            else block.Operations!.Hard[below] = 0;
            left += cost.Of(block.Operation, block.OpenUnits);
        }
        foreach (SearchedBlock block in blocks) block.Open();
    }

    /// <summary>What can be closed in this order: a unit, or (for unit -1) operations above one, which go where any gate before
    /// them goes.</summary>
    private IEnumerable<(SearchedBlock Block, BlockCost Cost, int Unit, int Below)> Closings()
    {
        var all = new List<(double Value, bool IsOperation, int Turn, int Block, int Unit, int Below)>();
        for (int b = 0; b < blocks.Count; b++)
        {
            for (int i = 0; i < blocks[b].Units?.Values.Length; i++) all.Add((blocks[b].Units!.Values[i], false, i, b, i, -1));
            double least = double.PositiveInfinity;
            for (int k = 0; k < blocks[b].Operations?.Values.Length; k++)
            {
                least = Math.Min(least, blocks[b].Operations!.Values[k]);
                all.Add((least, true, -k, b, -1, k));
            }
        }
        return all.Order().Select(c => (blocks[c.Block], costs[c.Block], c.Unit, c.Below));
    }

    /// <summary>The slopes of a block's cost by the indicators of its operations.</summary>
    internal static double[] Slopes(double[] open, BlockCost cost)
    {
        double more = cost.Conv3 - cost.Conv1, most = cost.Attention - cost.Conv3;
        return [cost.Conv1 + open[1] * (more + open[2] * most), open[0] * (more + open[2] * most), open[0] * open[1] * most];
    }

    /// <inheritdoc/>
    public void SaveState(StateWriter state)
    {
        foreach (var (gates, i) in Gates.Select((g, i) => (g, i))) gates.Save(state.Section($"{i}"));
    }

    /// <inheritdoc/>
    public void LoadState(StateReader state)
    {
        foreach (var (gates, i) in Gates.Select((g, i) => (g, i))) gates.Load(state.Section($"{i}"));
        Evaluate();
    }
}
