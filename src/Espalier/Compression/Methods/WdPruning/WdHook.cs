using System.Globalization;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression.Methods.WdPruning;

/// <summary>
/// Learns scores and thresholds by the gradients of the masks, which go straight through to the scores, and the multipliers of
/// the budget by climbing; exits learn the labels beside the network.
/// </summary>
/// <param name="target">The share of the blocks' weights that is to remain.</param>
/// <param name="exits">Logits of the classifiers behind blocks.</param>
internal sealed class WdHook(WdMasks masks, WdPruning options, double target, IReadOnlyList<GraphValue> exits) : ITrainingHook
{
    /// <summary>What rates fall to.</summary>
    private const double LeastRate = 1e-5;

    private readonly WdLayer[] layers = [.. masks.Layers];
    private readonly LearnedNumbers multipliers = new(2, 0);
    private double[][] gradients = [];

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        .. options.Settings.Select(s => ($"WdPruning{s.Property}", s.Of(options))),
        ("WdPruningTarget", target.ToString("R", CultureInfo.InvariantCulture)),
    ];

    /// <inheritdoc/>
    public IReadOnlyList<GraphValue> Watched => exits;

    /// <summary>λ1 and λ2.</summary>
    public double[] Multipliers => multipliers.Values;

    /// <inheritdoc/>
    public Tensor? Loss(TrainingPass pass, in StepContext context)
    {
        Tensor? sum = null;
        foreach (GraphValue exit in exits)
        {
            Tensor loss = pass.LabelLoss(pass[exit]);
            sum = sum is null ? loss : F.Add(sum, loss);
        }
        return sum;
    }

    /// <summary>The masks' gradients are taken before the optimiser sees them: it does not train masks.</summary>
    public void AfterBackward(in StepContext context)
    {
        if (context.MicroBatch == context.MicroBatches - 1) gradients = [.. layers.Select(l => l.TakeGradient())];
    }

    /// <inheritdoc/>
    public void AfterStep(long step)
    {
        double rate = Rate(options.Rate, step - 1, options.TrainSteps), left = masks.Remaining();
        double over = left - target, push = WdRule.Push(left, target, multipliers.Values[0], multipliers.Values[1]);
        double[] slopes = [.. layers.Select(masks.Slope)];
        for (int i = 0; i < layers.Length; i++)
        {
            double threshold = WdRule.ThresholdGradient(gradients[i], layers[i].Mask) + push * slopes[i];
            layers[i].Scores.Step(gradients[i], rate);
            layers[i].Threshold.Step([threshold], rate);
        }
        // Where the budget is met the loss has no such term, and momentum alone would let them go on.
        if (over > 0) multipliers.Step([over, over * over], -Rate(options.MultiplierRate, step - 1, options.TrainSteps));
        masks.Apply();
    }

    /// <summary>Along a cosine from a rate to almost nothing.</summary>
    internal static double Rate(double first, long done, long all) =>
        LeastRate + (1 + Math.Cos(Math.PI * done / all)) / 2 * (first - LeastRate);

    /// <inheritdoc/>
    public void SaveState(StateWriter state)
    {
        multipliers.Save(state.Section("multipliers"));
        for (int i = 0; i < layers.Length; i++)
        {
            layers[i].Scores.Save(state.Section($"{i}/scores"));
            layers[i].Threshold.Save(state.Section($"{i}/threshold"));
        }
    }

    /// <inheritdoc/>
    public void LoadState(StateReader state)
    {
        multipliers.Load(state.Section("multipliers"));
        for (int i = 0; i < layers.Length; i++)
        {
            layers[i].Scores.Load(state.Section($"{i}/scores"));
            layers[i].Threshold.Load(state.Section($"{i}/threshold"));
        }
        masks.Apply();
    }
}
