using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>What is fitted where channels that a layer reads were removed.</summary>
public enum RecoverFit
{
    /// <summary>Weights and bias, by ridge regression.</summary>
    Ridge,

    /// <summary>The bias alone, which takes the mean of what is gone (VBP, arXiv 2507.12988).</summary>
    Mean,
}

/// <summary>What becomes of the queries and keys of a head that loses some of its dimensions.</summary>
public enum QueryKeyFit
{
    /// <summary>Those that stay span the best subspace that the wanted number of dimensions has, whichever were removed.</summary>
    Projection,

    /// <summary>The queries that stay make up for the others, the least squares of the scores of every image (CORP, arXiv 2602.05243).
    /// </summary>
    Exact,

    /// <summary>The same with moments pooled over images: cheaper, and equal for one image.</summary>
    Pooled,

    /// <summary>The others are dropped.</summary>
    Slice,
}

/// <summary>How what reads removed channels is fitted to give what it gave, from unlabelled images and without training.</summary>
public sealed record RecoverOptions
{
    /// <summary>Images that are looked at; more than that are not read.</summary>
    public int Images { get; init; } = 512;

    public RecoverFit Fit { get; init; } = RecoverFit.Ridge;

    public QueryKeyFit QueryKeys { get; init; } = QueryKeyFit.Projection;

    /// <summary>
    /// Whether each layer is fitted on what the network that has lost channels in front of it gives; else on what the whole network
    /// gave. Null for the first from <see cref="SequentialFrom"/> images on: with fewer it fits the images more than the network.
    /// </summary>
    public bool? Sequential { get; init; }

    /// <summary>Ridge as a share of the mean variance of what is read; null for the one that errs least on the half of the images that
    /// it was not fitted to.</summary>
    public double? Alpha { get; init; }

    /// <summary>Whether the statistics of batch norms follow: a fit keeps means, but lowers variances by what it cannot give.</summary>
    public bool Norms { get; init; } = true;

    /// <summary>Values that a convolution's window may have for its taps to be fitted one by one; wider ones are fitted channel by
    /// channel.</summary>
    public int MostWindowValues { get; init; } = 2304;

    /// <summary>Bytes of activations that are held at a time; fewer images are looked at where all would need more.</summary>
    public long Memory { get; init; } = 1L << 30;

    internal const int SequentialFrom = 128;

    /// <exception cref="EspalierException">A number is out of its range.</exception>
    internal RecoverOptions Checked()
    {
        if (Images < 1) throw new EspalierException($"recovery looks at {Images} images; it needs at least 1");
        if (Alpha is < 0 or double.NaN) throw new EspalierException($"the ridge is {Alpha} of the variance; it is at least 0");
        return this;
    }
}

/// <summary>One layer that was fitted.</summary>
/// <param name="Layer">Its name.</param>
/// <param name="Read">Channels that it read before.</param>
/// <param name="Kept">Of these how many are left.</param>
/// <param name="Alpha">The ridge as a share of the mean variance; infinity where only the mean was brought back.</param>
/// <param name="Before">Squared error of its result on the calibration images with the mean brought back, as a share of the result's
/// variance.</param>
/// <param name="After">The same with the new weights.</param>
/// <param name="Growth">How many times larger the largest weight became. Above 10 the ridge was too weak.</param>
public sealed record RecoveredLayer(string Layer, int Read, int Kept, double Alpha, double Before, double After, double Growth);

/// <summary>Weights of the network before a removal that no longer read what the removal takes.</summary>
public sealed class RecoveredWeights : IDisposable
{
    internal Dictionary<Tensor, Tensor> Values { get; } = [];

    /// <summary>In the order of the forward pass.</summary>
    public IReadOnlyList<RecoveredLayer> Layers => LayerList;

    /// <summary>What could not be fitted and why, a line each.</summary>
    public IReadOnlyList<string> Notes => NoteList;

    /// <summary>Images that were looked at.</summary>
    public int Images { get; internal set; }

    /// <summary>Squared error of the network's first output on the calibration images, as a share of its variance.</summary>
    public double OutputError { get; internal set; }

    internal List<RecoveredLayer> LayerList { get; } = [];

    internal List<string> NoteList { get; } = [];

    public void Dispose()
    {
        foreach (Tensor tensor in Values.Values) tensor.Dispose();
        Values.Clear();
    }
}
