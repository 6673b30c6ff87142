using Espalier.Quantization;

namespace Espalier.Compression.Methods.Qat;

/// <summary>Which statistics a layer is trained with whose batch norm follows.</summary>
public enum QatNorms
{
    /// <summary>Batch norms train as ever, and go into the rounded weights at the end, whose codes stay.</summary>
    Unfolded,

    /// <summary>Batch norms go into the weights before the training, with the statistics that they have.</summary>
    Folded,
}

/// <summary>What the range of a weight is.</summary>
public enum WeightRange
{
    /// <summary>From its least to its largest number.</summary>
    MinMax,

    /// <summary>Narrowed until the squared error of its histogram grows.</summary>
    Histogram,
}

/// <summary>
/// Quantisation-aware training (Jacob et al., CVPR 2018, arXiv 1712.05877): the network is trained as it will compute, with
/// weights and values rounded to few bits, and gradients go straight through the rounding.
/// </summary>
public sealed record Qat : FewBitsMethod
{
    private static readonly MethodSettings<Qat> Known = new()
    {
        { "bits", m => m.Bits, (m, x) => m with { Bits = x }, 2, 8, "bits of weights" },
        { "value-bits", m => m.ValueBits, (m, x) => m with { ValueBits = x }, 2, 8, "bits of the values between layers" },
        { "scales", m => m.PerTensor, (m, x) => m with { PerTensor = x },
            "channel: a weight has a scale for each output; tensor: one", "channel", "tensor" },
        { "observer", m => m.Observer, (m, x) => m with { Observer = x }, "how ranges of values are found" },
        { "momentum", m => m.Momentum, (m, x) => m with { Momentum = x }, 0f, 1f,
            "of moving-average: what a step's range counts" },
        { "weights", m => m.Weights, (m, x) => m with { Weights = x }, "how ranges of weights are found" },
        { "every", m => m.Every, (m, x) => m with { Every = x }, 1, 1_000_000_000, "steps between new scales" },
        { "norms", m => m.Norms, (m, x) => m with { Norms = x }, "unfolded: batch norms are folded at the end; folded: before" },
        { "images", m => m.Images, (m, x) => m with { Images = x }, 1, 1_000_000, "images that ranges of values begin with" },
    };

    /// <inheritdoc/>
    public override string Name => "qat";

    /// <inheritdoc/>
    public override string Purpose => "trains with weights and values rounded to few bits, as the network will compute";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override NetworkTraits Leaves => NetworkTraits.FewBits;

    /// <summary>Bits of weights, 2 to 8.</summary>
    public int Bits { get; init; } = 8;

    /// <summary>Bits of values, 2 to 8.</summary>
    public int ValueBits { get; init; } = 8;

    /// <summary>Whether a weight has one scale; else one for each output.</summary>
    public bool PerTensor { get; init; }

    /// <summary>How ranges of values are found.</summary>
    public ObserverKind Observer { get; init; } = ObserverKind.MovingAverage;

    /// <summary>Of a moving average: what the range of a step counts.</summary>
    public float Momentum { get; init; } = 0.01f;

    public WeightRange Weights { get; init; }

    /// <summary>Steps between new scales.</summary>
    public long Every { get; init; } = 1;

    public QatNorms Norms { get; init; }

    /// <summary>Images that ranges of values begin with.</summary>
    public int Images { get; init; } = 128;

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        if (TrainSteps == 0)
            throw new EspalierException("TrainSteps is 0, and qat is a training; to round a network as it is, use 'quantize'");
        if (Training.EmaDecay is not null)
            throw new EspalierException("EmaDecay is of weights that are averaged, and codes have no averages; leave it out of qat");
        var training = new QuantisedTraining(job.Model.Graph, job.CalibrationBatches(Images), new QuantisedTrainingOptions
        {
            Rounding = new PostTrainingOptions
            {
                WeightBits = Bits, ActivationBits = ValueBits, PerChannel = !PerTensor, Observer = Observer, Momentum = Momentum,
                Floats = job.LayersLeftAlone(),
            },
            Weights = Weights == WeightRange.Histogram ? ObserverKind.Histogram : ObserverKind.MinMax, Every = Every,
            Fold = Norms == QatNorms.Folded,
        });
        foreach (string note in training.Notes) job.Log(note);
        job.Train("qat", TrainSteps, training);
        training.Moves = false;
        job.Train("fine-tune", FineTuneSteps, training);
        training.Finish();
        job.Model.Card = job.Model.Card.With($"qat: {training.Weights.Count} layers in {Bits} bits, values in {ValueBits}");
    }
}
