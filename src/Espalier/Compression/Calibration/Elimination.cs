using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression;

/// <summary>
/// What each of several units costs that a layer reads, if the weights of the others make up for it as well as they can: Optimal Brain
/// Surgeon on the layer's output (Hassibi and Stork 1993). Taking the cheapest again and again gives the joint least squares solution,
/// and the costs add up to its error.
/// <code>
/// cost of a block B: tr(W_B [(C⁻¹)_BB]⁻¹ W_Bᵀ)      W -= W_B [(C⁻¹)_BB]⁻¹ (C⁻¹)_B:      C⁻¹ -= (C⁻¹)_:B [(C⁻¹)_BB]⁻¹ (C⁻¹)_B:
/// </code>
/// </summary>
internal sealed class Elimination
{
    /// <summary>Of the mean variance: what varies less is a constant, which a bias gives.</summary>
    private const double Constant = 1e-12;

    private readonly bool[] constant;
    private readonly double[] inverse;
    private readonly int inputs, outputs;
    private readonly double total;

    /// <param name="weight">[m, n] of the layer; of a convolution the taps are outputs, too.</param>
    /// <param name="covariance">[n, n] of what it reads.</param>
    /// <param name="ridge">Added to the covariance, as a share of its mean variance.</param>
    public Elimination(double[] weight, double[] covariance, int n, double ridge = 0)
    {
        (Weight, inputs, outputs) = (weight.AsSpan().ToArray(), n, weight.Length / n);
        double trace = 0;
        for (int i = 0; i < n; i++) trace += covariance[(long)i * n + i];
        constant = [.. Enumerable.Range(0, n).Select(i => covariance[(long)i * n + i] <= Constant * trace / n)];
        if (!double.IsFinite(trace)) throw new EspalierException("the activations of the calibration images are not finite");
        inverse = new double[(long)n * n];
        for (int i = 0; i < n; i++) inverse[(long)i * n + i] = 1;
        Cholesky.Ridged(covariance, n, Math.Max(trace, 1e-30), ridge, least: 1e-10).SolveRows(inverse);
        var made = new double[n];
        for (int row = 0; row < outputs; row++)
        {
            ReadOnlySpan<double> w = Weight.AsSpan(row * n, n);
            for (int i = 0; i < n; i++) made[i] = TensorPrimitives.Dot(w, covariance.AsSpan(i * n, n));
            total += TensorPrimitives.Dot(w, made);
        }
    }

    /// <summary>[m, n] with what was eliminated zero and the rest making up for it.</summary>
    public double[] Weight { get; }

    /// <summary>The variance of the layer's output, with which costs of layers compare.</summary>
    public double Total => total;

    /// <summary>The squared error of the output if these units go besides those that are gone.</summary>
    public double Cost(int[] block)
    {
        // Only the ridge makes it cost anything.
        if (Array.TrueForAll(block, b => constant[b])) return 0;
        if (block is [int j])
        {
            double own = inverse[(long)j * inputs + j], norm = 0;
            for (int row = 0; row < outputs; row++) norm += Weight[(long)row * inputs + j] * Weight[(long)row * inputs + j];
            return own > 0 ? norm / own : 0;
        }
        double[] columns = Columns(block), solved = Solved(block, columns);
        return TensorPrimitives.Dot<double>(columns, solved);
    }

    /// <summary>Takes units out; the rest makes up for them.</summary>
    public void Remove(int[] block)
    {
        double[] shares = Solved(block, Columns(block));
        double[] rows = [.. block.SelectMany(b => inverse.AsSpan(b * inputs, inputs).ToArray())];
        // (C^-1)_:B [(C^-1)_BB]^-1 before C^-1 changes; it is symmetric.
        var sides = new double[inputs * block.Length];
        for (int i = 0; i < inputs; i++)
            for (int b = 0; b < block.Length; b++) sides[i * block.Length + b] = rows[b * inputs + i];
        sides = Solved(block, sides);
        Take(Weight, shares, rows, outputs, block.Length);
        Take(inverse, sides, rows, inputs, block.Length);
        foreach (int j in block)
        {
            for (int row = 0; row < outputs; row++) Weight[(long)row * inputs + j] = 0;
            for (int i = 0; i < inputs; i++) inverse[(long)i * inputs + j] = inverse[(long)j * inputs + i] = 0;
        }
    }

    /// <summary>
    /// Takes the cheapest unit again and again until one is left. The importance of each is what it cost then, at least what those
    /// before it did, so that the order of scores is the order of going.
    /// </summary>
    /// <param name="layers">All that read the units, each with the columns that belong to each unit. Costs are shares of each layer's
    /// <see cref="Total"/>, and add up.</param>
    public static double[] Scores(IReadOnlyList<(Elimination Layer, IReadOnlyList<int[]> Units)> layers)
    {
        int count = layers[0].Units.Count;
        var scores = new double[count];
        List<int> left = [.. Enumerable.Range(0, count)];
        double least = 0;
        while (left.Count > 0)
        {
            int next = left.MinBy(u => Cost(layers, u));
            least = Math.Max(least, Cost(layers, next));
            scores[next] = least;
            left.Remove(next);
            if (left.Count > 0) foreach (var (layer, units) in layers) layer.Remove(units[next]);
        }
        return scores;
    }

    private static double Cost(IReadOnlyList<(Elimination Layer, IReadOnlyList<int[]> Units)> layers, int unit)
    {
        double sum = 0;
        foreach (var (layer, units) in layers) sum += layer.Cost(units[unit]) / Math.Max(1e-30, layer.Total);
        return sum;
    }

    private double[] Columns(int[] block)
    {
        var columns = new double[outputs * block.Length];
        for (int row = 0; row < outputs; row++)
            for (int b = 0; b < block.Length; b++) columns[row * block.Length + b] = Weight[(long)row * inputs + block[b]];
        return columns;
    }

    /// <summary>Rows times [(C⁻¹)_BB]⁻¹; zeros where the block is gone already.</summary>
    private double[] Solved(int[] block, double[] rows)
    {
        int k = block.Length;
        var own = new double[k * k];
        double trace = 0;
        for (int i = 0; i < k; i++)
        {
            for (int j = 0; j < k; j++) own[i * k + j] = inverse[(long)block[i] * inputs + block[j]];
            trace += own[i * k + i];
        }
        if (trace <= 0) return new double[rows.Length];
        double[] solved = rows.AsSpan().ToArray();
        Cholesky.Ridged(own, k, trace, share: 0, least: 1e-12).SolveRows(solved);
        return solved;
    }

    private void Take(double[] from, double[] shares, double[] rows, int count, int block)
    {
        for (int i = 0; i < count; i++)
        {
            Span<double> row = from.AsSpan(i * inputs, inputs);
            for (int b = 0; b < block; b++)
                if (shares[i * block + b] is var share and not 0)
                    TensorPrimitives.MultiplyAdd(rows.AsSpan(b * inputs, inputs), -share, row, row);
        }
    }
}
