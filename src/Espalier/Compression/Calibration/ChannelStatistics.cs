using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression;

/// <summary>Mean and variance of each channel of maps [N, C, H, W] or rows [.., C], in one pass.</summary>
/// <param name="last">Whether channels are the last axis of four, too.</param>
internal sealed unsafe class ChannelStatistics(int channels, bool last = false)
{
    private readonly double[] sums = new double[channels], squares = new double[channels];
    private float[]? pilot;

    /// <summary>Values of each channel so far.</summary>
    public long Count { get; private set; }

    public double SumOfVariances => Enumerable.Range(0, channels).Sum(Variance);

    public void Add(Tensor x)
    {
        if (x.Length == 0) return;
        int area = x.Rank == 4 && !last ? x.Shape[2] * x.Shape[3] : 1;
        long groups = x.Length / ((long)channels * area);
        pilot ??= [.. Enumerable.Range(0, channels).Select(c => TensorPrimitives.Sum(new ReadOnlySpan<float>(x.Data + (long)c * area, area)) / area)];
        var centred = new float[area];
        for (long n = 0; n < groups; n++)
        {
            for (int c = 0; c < channels; c++)
            {
                TensorPrimitives.Subtract(new ReadOnlySpan<float>(x.Data + (n * channels + c) * area, area), pilot[c], centred);
                sums[c] += TensorPrimitives.Sum<float>(centred);
                squares[c] += TensorPrimitives.SumOfSquares<float>(centred);
            }
        }
        Count += groups * area;
    }

    public double Mean(int channel) => pilot is null ? 0 : pilot[channel] + sums[channel] / Count;

    public double Variance(int channel) =>
        Count == 0 ? 0 : Math.Max(0, squares[channel] / Count - sums[channel] / Count * (sums[channel] / Count));
}
