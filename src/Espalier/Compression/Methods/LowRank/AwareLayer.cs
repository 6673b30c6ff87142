using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression.Methods.LowRank;

/// <summary>
/// A layer with the terms that keep most of what it gives on real images: from the moments of its output where that is the
/// narrower side, else from those of what it reads. Of a k x 1 and a 1 x k convolution the terms keep most of what each column of
/// the kernel gives, from moments of what the first of them reads: the sum over columns has no closed form.
/// </summary>
internal sealed class AwareLayer
{
    /// <summary>Mean of what a matrix makes, of all groups; null where means are not looked at.</summary>
    private readonly double[]? means;

    /// <param name="moments">Of what <see cref="SourceOf"/> says.</param>
    /// <param name="centred">Whether deviations from the mean are kept best, and the bias keeps the mean; else values as they
    /// are.</param>
    public AwareLayer(SplitLayer layer, Moments moments, bool centred)
    {
        Layer = layer;
        bool outputs = ByOutput(layer);
        int wide = layer.MatrixColumns;
        double[] second = outputs || centred ? moments.Covariance() : moments.SecondMoment();
        if (outputs) means = Means(moments.Mean, layer.Bias);
        Groups = new Decomposition[layer.Groups];
        for (int g = 0; g < Groups.Length; g++)
        {
            double[] w = layer.Matrix(g);
            if (!outputs)
            {
                means = new double[wide];
                for (int i = 0; i < layer.Rows; i++)
                    TensorPrimitives.MultiplyAdd(w.AsSpan(i * wide, wide), moments.Mean[i], means, means);
                Groups[g] = Decomposition.OfInputs(w, layer.Rows, wide, second, layer.Ranks.Most);
                continue;
            }
            var own = new double[wide * wide];
            for (int i = 0; i < wide; i++)
            {
                Span<double> row = own.AsSpan(i * wide, wide);
                second.AsSpan((g * wide + i) * moments.Width + g * wide, wide).CopyTo(row);
                if (!centred) TensorPrimitives.MultiplyAdd(means.AsSpan(g * wide, wide), means![g * wide + i], row, row);
            }
            Groups[g] = Decomposition.OfOutputs(w, layer.Rows, wide, own, layer.Ranks.Most);
        }
        if (!centred) means = null;
        Energy = Shares();
    }

    public SplitLayer Layer { get; }

    public Decomposition[] Groups { get; }

    /// <summary>Share of the output's energy (of its variance, where centred) that each rank keeps, from 1 on; 1 at the most,
    /// where the layer stays.</summary>
    public double[] Energy { get; }

    /// <summary>What moments a layer's terms are made from.</summary>
    public static MomentSource SourceOf(SplitLayer layer)
    {
        if (ByOutput(layer)) return MomentSource.OutputOf(layer.Node);
        MomentSource input = MomentSource.InputOf(layer.Node);
        return layer.Form == SplitForm.Spatial ? input with { Rows = ActivationRows.WindowsOf(layer.FirstHalf) } : input;
    }

    /// <summary>The layer at a rank; where centred its bias brings back the mean that the terms left out have.</summary>
    public LayerSplit At(int rank)
    {
        if (means is null) return new LayerSplit(Layer, rank, Groups);
        var shift = new float[Layer.Outputs * Layer.Groups];
        for (int g = 0; g < Groups.Length; g++)
        {
            double[] missing = means.AsSpan(g * Layer.MatrixColumns, Layer.MatrixColumns).ToArray();
            for (int k = 0; k < Math.Min(rank, Groups[g].Second.Length); k++)
            {
                double[] made = Groups[g].Second[k];
                double length = TensorPrimitives.Dot<double>(made, made);
                double share = length > 0 ? TensorPrimitives.Dot<double>(made, missing) / length : 0;
                TensorPrimitives.MultiplyAdd<double>(made, -share, missing, missing);
            }
            for (int i = 0; i < missing.Length; i++) shift[g * Layer.Outputs + i % Layer.Outputs] += (float)missing[i];
        }
        return new LayerSplit(Layer, rank, Groups, shift);
    }

    /// <summary>The output tells, where nothing but the bias is added to it; groups are told apart there only.</summary>
    private static bool ByOutput(SplitLayer layer) =>
        layer.Form == SplitForm.Channel && layer.Node.Op is not LinearOp { Gelu: true } and not LinearOp { Residual: not null }
            && (layer.Groups > 1 || layer.Outputs <= layer.Rows);

    private static double[] Means(ReadOnlySpan<double> outputs, GraphValue? bias)
    {
        double[] means = outputs.ToArray();
        if (bias is not null) for (int i = 0; i < means.Length; i++) means[i] -= bias.Tensor.Span[i];
        return means;
    }

    private double[] Shares()
    {
        int most = Layer.Ranks.Most;
        double all = Groups.Sum(g => g.Values.Sum(s => s * s)), sum = 0;
        var shares = new double[most];
        for (int r = 0; r < most; r++)
        {
            sum += Groups.Sum(g => r < g.Values.Length ? g.Values[r] * g.Values[r] : 0);
            shares[r] = r + 1 == most || all <= 0 ? 1 : sum / all;
        }
        return shares;
    }
}
