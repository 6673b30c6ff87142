using System.Globalization;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Quantization;

/// <summary>How a network is trained with roundings in it.</summary>
public sealed record QuantisedTrainingOptions
{
    /// <summary>Bits, layers and how ranges of values are found.</summary>
    public PostTrainingOptions Rounding { get; init; } = new() { Observer = ObserverKind.MovingAverage };

    /// <summary>How the range of a weight is found: <see cref="ObserverKind.MinMax"/>, or by its histogram.</summary>
    public ObserverKind Weights { get; init; } = ObserverKind.MinMax;

    /// <summary>Steps between new scales; the last step sets them in any case.</summary>
    public long Every { get; init; } = 1;

    /// <summary>Whether batch norms are folded before the training; else after it.</summary>
    public bool Fold { get; init; }
}

/// <summary>
/// Training with roundings: a step sees weights and values as codes have them, and its gradients go straight through (Bengio et
/// al., arXiv 1308.3432; Jacob et al., arXiv 1712.05877). Ranges follow what is seen: a value's those that its observer finds, a
/// weight's its own.
/// </summary>
internal sealed class QuantisedTraining : ITrainingHook
{
    private readonly Graph graph;
    private readonly QuantisedTrainingOptions options;
    private readonly QuantisedNetwork network;
    private long steps;

    /// <param name="images">Where ranges of values begin.</param>
    /// <exception cref="EspalierException">There are no images, or there is nothing to round.</exception>
    public QuantisedTraining(Graph graph, IEnumerable<Tensor> images, QuantisedTrainingOptions options)
    {
        (this.graph, this.options) = (graph, options);
        network = PostTraining.Insert(graph, images, options.Rounding, options.Fold);
        SetWeights();
    }

    /// <summary>What was done to begin with, a line each.</summary>
    public IReadOnlyList<string> Notes => network.Notes;

    /// <summary>The rounded weights, in the order of the layers.</summary>
    public IReadOnlyList<QuantisedValue> Weights => [.. network.Values.Where(v => v.IsWeight)];

    /// <summary>The rounded values, likewise.</summary>
    public IReadOnlyList<QuantisedValue> Values => [.. network.Values.Where(v => !v.IsWeight)];

    /// <summary>Whether ranges follow; else they stay where they are.</summary>
    public bool Moves { get; set; } = true;

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        ("QuantisedWeights", string.Join(' ', Weights.Select(w => $"{w.Format} {w.Axis}").Distinct())),
        ("QuantisedValues", $"{Values.FirstOrDefault()?.Format} {options.Rounding.Observer} "
            + options.Rounding.Momentum.ToString("R", CultureInfo.InvariantCulture)),
        ("QuantisedRanges", FormattableString.Invariant($"{options.Weights} every {options.Every} {Moves}")),
    ];

    /// <inheritdoc/>
    public IReadOnlyList<GraphValue> Watched => Moves ? [.. network.Ranges.Sources.Where(s => !graph.Inputs.Contains(s))] : [];

    /// <inheritdoc/>
    public Tensor? Loss(TrainingPass pass, in StepContext context)
    {
        steps = context.TotalSteps;
        if (!Moves) return null;
        foreach (GraphValue source in network.Ranges.Sources)
            network.Ranges.Add(source, graph.Inputs.Contains(source) ? pass.Images : pass[source]);
        return null;
    }

    /// <inheritdoc/>
    public void AfterStep(long step)
    {
        // The last step's too: the network is evaluated, and ends, with the ranges of what it has become.
        if (!Moves || (step % options.Every != 0 && step != steps)) return;
        network.Ranges.Update();
        SetWeights();
    }

    /// <inheritdoc/>
    public void SaveState(StateWriter state) => network.Ranges.Save(state);

    /// <inheritdoc/>
    public void LoadState(StateReader state) => network.Ranges.Load(state);

    /// <summary>
    /// Ends the training: weights become the numbers that their codes stand for, batch norms go into the layers before them, and
    /// biases become whole numbers of their sums' scale, as runtimes hold them.
    /// </summary>
    public void Finish()
    {
        using Recording.PauseBlock pause = Recording.Pause();
        foreach (QuantisedValue weight in Weights)
        {
            using var scope = new Scope();
            weight.Source.Tensor.CopyFrom(F.Quantise(weight.Source.Tensor, weight.Scale, weight.Zero, weight.Format.Low,
                weight.Format.High, weight.Axis));
        }
        BatchNormFolding.Apply(graph);
        BiasCorrection.Round(QuantisedLayer.Of(graph));
    }

    private void SetWeights()
    {
        foreach (QuantisedValue weight in Weights)
        {
            weight.SetRangeOfWeight(options.Weights == ObserverKind.MinMax ? null : values =>
            {
                var observer = Observer.Create(options.Weights);
                observer.Add(values);
                return observer.Range(weight.Format);
            });
        }
    }
}
