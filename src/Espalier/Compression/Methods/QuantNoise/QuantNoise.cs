using System.Globalization;
using Espalier.Quantization;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.QuantNoise;

/// <summary>
/// Training with quantisation noise for extreme model compression (Fan et al., ICLR 2021, arXiv 2004.07320): in each forward pass
/// only a share of the weights, drawn anew, is quantised, so that the gradients of the others are true. Of integers the network
/// ends in few bits, as by training with roundings; of blocks it stays one of floats, which <c>ipq</c> makes small.
/// </summary>
public sealed record QuantNoise : FewBitsMethod
{
    private static readonly MethodSettings<QuantNoise> Known = new()
    {
        { "kind", m => m.Kind, (m, x) => m with { Kind = x },
            "integers: noised weights are rounded; proxy: noised blocks are zero; centroids: they are those of a code book" },
        { "share", m => m.NoisedShare?.ToString(CultureInfo.InvariantCulture) ?? "usual", (m, text) =>
            text == "usual" ? m with { NoisedShare = null }
            : double.TryParse(text, CultureInfo.InvariantCulture, out double share) && share is >= 0 and <= 1
                ? m with { NoisedShare = share } : null,
            "of the blocks that a pass noises, p; usual: 0.5 of integers, 0.1 of proxy and centroids",
            "usual or a number from 0 to 1", nameof(NoisedShare) },
        { "bits", m => m.Bits, (m, x) => m with { Bits = x }, 2, 8, "of integers: bits of weights" },
        { "value-bits", m => m.ValueBits, (m, x) => m with { ValueBits = x }, 2, 8, "of integers: bits of values" },
        { "scales", m => m.PerTensor, (m, x) => m with { PerTensor = x },
            "of integers: channel: a weight has a scale for each output; tensor: one", "channel", "tensor" },
        { "observer", m => m.Observer, (m, x) => m with { Observer = x }, "of integers: how all ranges are found" },
        { "values", m => m.RoundValues, (m, x) => m with { RoundValues = x },
            "of integers: floats: values are rounded in evaluation only; rounded: in training too", "floats", "rounded" },
        { "every", m => m.Every, (m, x) => m with { Every = x }, 1, 1_000_000_000, "steps between new scales or code books" },
        { "block", m => m.Block, (m, x) => m with { Block = x }, 1, 1024,
            "of blocks: values of one where a kernel is a single pixel; else it is the kernel" },
        { "entries", m => m.Entries, (m, x) => m with { Entries = x }, 2, 65536, "of centroids: entries of a code book" },
        { "images", m => m.Images, (m, x) => m with { Images = x }, 1, 1_000_000,
            "of integers: images that ranges of values begin with" },
    };

    /// <inheritdoc/>
    public override string Name => "quant-noise";

    /// <inheritdoc/>
    public override string Purpose => "trains with a random share of the weights quantised in each pass";

    /// <inheritdoc/>
    public override IReadOnlyList<MethodSetting> Settings => Known;

    /// <inheritdoc/>
    public override NetworkTraits Leaves => Kind == NoiseKind.Integers ? NetworkTraits.FewBits : NetworkTraits.None;

    public NoiseKind Kind { get; init; }

    /// <summary>p, the probability of a block to be noised; null for 0.5 of integers and 0.1 of blocks, of which 0.05 to 0.2 is
    /// published.</summary>
    public double? NoisedShare { get; init; }

    internal double DrawnShare => NoisedShare ?? (Kind == NoiseKind.Integers ? 0.5 : 0.1);

    /// <summary>Bits of weights, 2 to 8.</summary>
    public int Bits { get; init; } = 8;

    /// <summary>Bits of values, 2 to 8.</summary>
    public int ValueBits { get; init; } = 8;

    /// <summary>Whether a weight has one scale; else one for each output.</summary>
    public bool PerTensor { get; init; }

    /// <summary>How ranges are found, of weights and of values.</summary>
    public ObserverKind Observer { get; init; } = ObserverKind.Histogram;

    /// <summary>Whether values are rounded in training, too.</summary>
    public bool RoundValues { get; init; }

    /// <summary>Steps between new scales, or new code books.</summary>
    public long Every { get; init; } = 100;

    /// <summary>Values of a block in linear layers and pointwise convolutions.</summary>
    public int Block { get; init; } = 8;

    /// <summary>Entries of a code book.</summary>
    public int Entries { get; init; } = 256;

    /// <summary>Images that ranges of values begin with.</summary>
    public int Images { get; init; } = 128;

    /// <inheritdoc/>
    public override void Run(CompressionJob job)
    {
        if (TrainSteps == 0) throw new EspalierException("TrainSteps is 0, and quant-noise is a training");
        if (Kind == NoiseKind.Proxy && NoisedShare == 1)
            throw new EspalierException("NoisedShare is 1, and a network of zeros learns nothing");
        if (Kind == NoiseKind.Integers) TrainIntegers(job);
        else TrainBlocks(job);
        job.Model.Card = job.Model.Card.With(
            FormattableString.Invariant($"quant-noise: {Kind}, {DrawnShare:0.##} of the blocks in a pass").ToLowerInvariant());
    }

    private void TrainIntegers(CompressionJob job)
    {
        Graph graph = job.Model.Graph;
        var training = new QuantisedTraining(graph, job.CalibrationBatches(Images), new QuantisedTrainingOptions
        {
            Rounding = new PostTrainingOptions
            {
                WeightBits = Bits, ActivationBits = ValueBits, PerChannel = !PerTensor, Observer = Observer,
                Floats = job.LayersLeftAlone(),
            },
            Weights = Observer == ObserverKind.MovingAverage ? ObserverKind.MinMax : Observer, Every = Every,
        });
        foreach (string note in training.Notes) job.Log(note);
        using var noise = new WeightNoise(NoiseKind.Integers, DrawnShare, training.Weights.Select(w => (w.Node.Output, 1)))
        {
            LeftOut = RoundValues ? [] : training.Values,
        };
        job.Train("quant-noise", TrainSteps, training, noise);
        training.Moves = false;
        job.Train("fine-tune", FineTuneSteps, training, noise);
        training.Finish();
    }

    private void TrainBlocks(CompressionJob job)
    {
        using var noise = new WeightNoise(Kind, DrawnShare, BlockedLayers.Of(job, Block, Block).Select(l => (l.Weight, l.Block)))
        {
            Books = (Every, Entries, 15),
        };
        job.Train("quant-noise", TrainSteps, noise);
        job.Train("fine-tune", FineTuneSteps);
    }
}
