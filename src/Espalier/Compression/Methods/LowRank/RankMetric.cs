using Espalier.Data;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression.Methods.LowRank;

/// <summary>What ENC judges ranks by.</summary>
public enum EncMetric
{
    /// <summary>The share of the sum of singular values, A_p: no image is looked at.</summary>
    Energy,

    /// <summary>Accuracy with one layer truncated, A_m, sampled at a few ranks.</summary>
    Measured,

    /// <summary>Both, energy weighted by the complexity that is left: A_p · C(R)/C + A_m.</summary>
    Combined,
}

/// <summary>What a layer is worth at each rank, from 1 to its most: y[r - 1].</summary>
internal static class RankMetric
{
    /// <summary>Shares of the most ranks at which accuracy is measured, besides all.</summary>
    private static readonly double[] Samples = [0.1, 0.2, 0.3, 0.5];

    /// <summary>(E(r) - E(1)) / (E(most) - E(1)), E being sums of the singular values themselves: 0 at one rank, 1 at the most;
    /// 1 throughout where one rank is all there is.</summary>
    /// <param name="values">The largest first; of groups the sums.</param>
    public static double[] Energy(IReadOnlyList<double> values, int most)
    {
        var energy = new double[most];
        double sum = 0;
        for (int r = 1; r < most; r++) energy[r] = sum += values[r];
        return [.. energy.Select(e => sum > 0 ? e / sum : 1)];
    }

    /// <summary>
    /// Measured values between (0, 0) and the first that is not below 1; what does not rise is noise and left out. In between by
    /// <see cref="Pchip"/> over the share of the ranks.
    /// </summary>
    /// <param name="samples">Ranks, rising, and their values.</param>
    public static double[] Measured(IReadOnlyList<(int Rank, double Value)> samples, int most)
    {
        List<double> x = [0], y = [0];
        foreach (var (rank, value) in samples)
        {
            if (value <= y[^1]) continue;
            x.Add((double)rank / most);
            y.Add(value);
            if (value >= 1) break;
        }
        if (x.Count == 1) return new double[most];
        var curve = new Pchip([.. x], [.. y]);
        return [.. Enumerable.Range(1, most).Select(r => curve.At((double)r / most))];
    }

    /// <summary>The ranks of a layer at which accuracy is measured, but for the most, where the layer stays as it is.</summary>
    public static int[] RanksToMeasure(int most) => [.. Samples
        .Select(s => Math.Max(1, (int)Math.Round(s * most, MidpointRounding.AwayFromZero))).Where(r => r < most).Distinct()];
}

/// <summary>Accuracy of the job's network with layers truncated in place, on the ranking images.</summary>
internal sealed class TruncatedAccuracy(CompressionJob job)
{
    private double? whole;

    /// <summary>Of the network as it is.</summary>
    public double Whole => whole ??= Accuracy();

    /// <summary>With the weights of some layers truncated; they are as they were afterwards.</summary>
    public double With(params IReadOnlyList<LayerSplit> splits)
    {
        float[][] before = [.. splits.Select(s => s.Layer.Weight.Tensor.ToArray())];
        try
        {
            foreach (LayerSplit split in splits) split.WriteTruncated(split.Layer.Weight.Tensor.Span);
            return Accuracy();
        }
        finally
        {
            for (int i = 0; i < before.Length; i++) before[i].CopyTo(splits[i].Layer.Weight.Tensor.Span);
        }
    }

    private double Accuracy()
    {
        Graph graph = job.Model.Graph.Prepared(training: false);
        int right = 0, images = 0;
        foreach (Batch batch in job.RankingBatches())
        {
            using var scope = new Scope();
            Tensor logits = graph.Run(batch.ToTensor(job.Model.Channels, job.Model.ImageSize));
            int classes = logits.Shape[-1];
            for (int i = 0; i < batch.Count; i++)
                if (TensorPrimitives.IndexOfMax(logits.Span.Slice(i * classes, classes)) == batch.Labels[i]) right++;
            images += batch.Count;
        }
        return (double)right / Math.Max(1, images);
    }
}
