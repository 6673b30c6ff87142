using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression;

/// <summary>
/// First and second moments of rows of activations, in one pass: count, mean and the sum of products of deviations, with those of
/// targets beside them where some are given. Each batch is centred by a fixed row, multiplied in single precision and merged in
/// double (Chan, Golub and LeVeque 1979): plain sums of float32 lose the variance of what lies far from zero.
/// </summary>
/// <param name="width">Values of a row x.</param>
/// <param name="targets">Values of the row y beside it; 0 for none.</param>
public sealed unsafe class Moments(int width, int targets = 0)
{
    /// <summary>Rows that are multiplied at a time.</summary>
    private const int Chunk = 1024;

    private readonly double[] mean = new double[width + targets], products = new double[(long)(width + targets) * width];
    private readonly double[] squares = new double[targets];
    private float[]? pilot;

    public int Width => width;

    public int Targets => targets;

    /// <summary>Rows so far.</summary>
    public long Count { get; private set; }

    /// <summary>[width] of x.</summary>
    public ReadOnlySpan<double> Mean => mean.AsSpan(0, width);

    /// <summary>[targets] of y.</summary>
    public ReadOnlySpan<double> TargetMean => mean.AsSpan(width);

    /// <summary>[width, width] the covariance of x (divided by the count), row-major.</summary>
    public double[] Covariance() => Scaled(products.AsSpan(0, width * width));

    /// <summary>[targets, width] the covariance of y with x.</summary>
    public double[] TargetCovariance() => Scaled(products.AsSpan(width * width));

    /// <summary>[targets] the variance of each value of y.</summary>
    public double[] TargetVariance() => Scaled(squares);

    /// <summary>[width, width] the mean of x xᵀ, not centred.</summary>
    public double[] SecondMoment()
    {
        double[] second = Covariance();
        for (int i = 0; i < width; i++)
            for (int j = 0; j < width; j++) second[i * width + j] += mean[i] * mean[j];
        return second;
    }

    /// <summary>[targets, width] the mean of y xᵀ, not centred.</summary>
    public double[] TargetSecondMoment()
    {
        double[] second = TargetCovariance();
        for (int i = 0; i < targets; i++)
            for (int j = 0; j < width; j++) second[i * width + j] += mean[width + i] * mean[j];
        return second;
    }

    /// <summary>Bytes that moments of such a size take.</summary>
    public static long BytesOf(int width, int targets = 0) => (sizeof(double) + sizeof(float)) * ((long)width + targets) * width;

    /// <param name="x">[.., width], all rows of it.</param>
    /// <param name="y">[.., targets], as many rows.</param>
    public void Add(Tensor x, Tensor? y = null)
    {
        long rows = x.Length / Math.Max(1, width);
        if (x.Shape[-1] != width || (y?.Length ?? 0) != rows * targets)
            throw new ArgumentException($"Moments: x {x.Shape} and y {y?.Shape} for rows of {width} and {targets}");
        for (long first = 0; first < rows; first += Chunk)
        {
            Add(x.Data + first * width, y is null ? null : y.Data + first * targets, (int)Math.Min(Chunk, rows - first));
        }
    }

    /// <summary>The moments of all rows of both.</summary>
    public static Moments Merged(Moments a, Moments b)
    {
        var all = new Moments(a.Width, a.Targets);
        all.Merge(a.Count, a.mean, a.products, a.squares);
        all.Merge(b.Count, b.mean, b.products, b.squares);
        return all;
    }

    private void Add(float* x, float* y, int rows)
    {
        if (rows == 0) return;
        pilot ??= Pilot(x, y, rows);
        int all = width + targets;
        using Tensor centred = Tensor.Unscoped(new Shape(rows, all)), product = Tensor.Unscoped(new Shape(all, width));
        var sums = new double[all];
        var own = new double[targets];
        for (int r = 0; r < rows; r++)
        {
            var row = new Span<float>(centred.Data + (long)r * all, all);
            TensorPrimitives.Subtract(new ReadOnlySpan<float>(x + (long)r * width, width), pilot.AsSpan(0, width), row);
            if (targets > 0) TensorPrimitives.Subtract(new ReadOnlySpan<float>(y + (long)r * targets, targets), pilot.AsSpan(width), row[width..]);
            for (int i = 0; i < all; i++) sums[i] += row[i];
            for (int i = 0; i < targets; i++) own[i] += row[width + i] * (double)row[width + i];
        }
        Gemm.Run(true, false, all, width, rows, centred.Data, all, centred.Data, all, product.Data, width, default);
        var means = new double[all];
        for (int i = 0; i < all; i++) means[i] = sums[i] / rows + pilot[i];
        var deviations = new double[products.Length];
        for (int i = 0; i < all; i++)
        {
            double share = sums[i] / rows;
            for (int j = 0; j < width; j++) deviations[(long)i * width + j] = product.Data[(long)i * width + j] - share * sums[j];
        }
        for (int i = 0; i < targets; i++) own[i] -= sums[width + i] * sums[width + i] / rows;
        Merge(rows, means, deviations, own);
    }

    /// <summary>About where the rows are: the mean of the first.</summary>
    private float[] Pilot(float* x, float* y, int rows)
    {
        var sums = new double[width + targets];
        for (int r = 0; r < rows; r++)
        {
            for (int i = 0; i < width; i++) sums[i] += x[(long)r * width + i];
            for (int i = 0; i < targets; i++) sums[width + i] += y[(long)r * targets + i];
        }
        return [.. sums.Select(s => (float)(s / rows))];
    }

    private void Merge(long count, double[] means, double[] deviations, double[] own)
    {
        if (count == 0) return;
        long all = Count + count;
        double weight = (double)Count * count / all;
        double[] apart = [.. means.Zip(mean, (m, old) => m - old)];
        for (int i = 0; i < mean.Length; i++)
        {
            Span<double> row = products.AsSpan(i * width, width);
            TensorPrimitives.Add(row, deviations.AsSpan(i * width, width), row);
            if (weight > 0) TensorPrimitives.MultiplyAdd(apart.AsSpan(0, width), apart[i] * weight, row, row);
            mean[i] += apart[i] * count / all;
        }
        for (int i = 0; i < targets; i++) squares[i] += own[i] + apart[width + i] * apart[width + i] * weight;
        Count = all;
    }

    private double[] Scaled(ReadOnlySpan<double> sums)
    {
        var scaled = new double[sums.Length];
        if (Count > 0) TensorPrimitives.Divide(sums, (double)Count, scaled);
        return scaled;
    }
}
