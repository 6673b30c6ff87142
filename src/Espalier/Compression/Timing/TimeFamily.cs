namespace Espalier.Compression;

/// <summary>Where a layer's time was measured: images at a time and widths, see <see cref="Inference.StepShape"/>.</summary>
internal readonly record struct TimePoint(int Images, int A, int B, int C)
{
    /// <summary>What the time may be a sum of, each with a factor that is not negative.</summary>
    public double[] Features
    {
        get
        {
            double n = Images;
            if (C > 0) return [1, n * A, n * B, n * C];
            return B > 0 ? [1, n * A, n * B, n * A * B, (double)A * B] : [1, n * A];
        }
    }

    /// <summary>How far apart two are: by what factor the widths differ.</summary>
    public double Distance(TimePoint other)
    {
        double d = Part(Images, other.Images) + Part(A, other.A) + Part(B, other.B) + Part(C, other.C);
        return Math.Sqrt(d);

        static double Part(int a, int b) => Math.Pow(Math.Log((a + 1.0) / (b + 1.0)), 2);
    }
}

/// <summary>
/// The measured times of one family of layers. The model is a constant, what goes with each width and what goes with their product,
/// fitted to relative errors with factors that are not negative; neighbours correct it.
/// </summary>
internal sealed class TimeFamily
{
    /// <summary>Neighbours that have a say, and how far away they have half of it (a factor of the widths).</summary>
    private const int Neighbours = 6;

    private static readonly double Reach = Math.Log(1.25);

    private readonly Dictionary<TimePoint, double> points = [];
    private double[]? model;

    public IReadOnlyDictionary<TimePoint, double> Points => points;

    /// <summary>Seconds; of several measurements of one point the least, which other programs disturbed least.</summary>
    public void Add(TimePoint point, double seconds)
    {
        points[point] = points.TryGetValue(point, out double before) ? Math.Min(before, seconds) : seconds;
        model = null;
    }

    /// <summary>Seconds that a point takes.</summary>
    /// <exception cref="InvalidOperationException">Nothing was measured.</exception>
    public double Of(TimePoint point)
    {
        if (points.TryGetValue(point, out double known)) return known;
        if (points.Count == 0) throw new InvalidOperationException("nothing was measured of this family");
        model ??= Fit();
        double said = Model(point), sum = 0, weights = 0.1;
        foreach (var (near, seconds) in points.OrderBy(p => p.Key.Distance(point)).Take(Neighbours))
        {
            double said2 = Model(near), distance = near.Distance(point) / Reach, weight = 1 / (1e-3 + distance * distance);
            if (seconds <= 0 || said2 <= 0) continue;
            sum += weight * Math.Log(seconds / said2);
            weights += weight;
        }
        return said * Math.Exp(sum / weights);
    }

    private double Model(TimePoint point)
    {
        double[] features = point.Features;
        double sum = 0;
        for (int i = 0; i < features.Length; i++) sum += model![i] * features[i];
        return sum;
    }

    /// <summary>Of all choices of features the one whose factors are all positive and that fits best: there are 32 at most.</summary>
    private double[] Fit()
    {
        (double[] Features, double Seconds)[] rows = [.. points.Where(p => p.Value > 0).Select(p => (p.Key.Features, p.Value))];
        int count = points.First().Key.Features.Length;
        var best = new double[count];
        double least = double.MaxValue;
        for (int choice = 1; choice < 1 << count; choice++)
        {
            int[] chosen = [.. Enumerable.Range(0, count).Where(i => (choice >> i & 1) == 1)];
            if (chosen.Length > rows.Length || Solve(rows, chosen) is not { } factors || factors.Any(f => f < 0)) continue;
            double error = 0;
            foreach (var (features, seconds) in rows)
            {
                double said = 0;
                for (int i = 0; i < chosen.Length; i++) said += factors[i] * features[chosen[i]];
                error += Math.Pow(said / seconds - 1, 2);
            }
            // More factors than needed only fit noise.
            error *= (rows.Length + 2.0 * chosen.Length) / rows.Length;
            if (error >= least) continue;
            least = error;
            best = new double[count];
            for (int i = 0; i < chosen.Length; i++) best[chosen[i]] = factors[i];
        }
        return best;
    }

    /// <summary>Least squares of relative errors, scaled so that features compare.</summary>
    private static double[]? Solve((double[] Features, double Seconds)[] rows, int[] chosen)
    {
        int n = chosen.Length;
        double[] scale = [.. chosen.Select(c => Math.Max(1e-300, Math.Sqrt(rows.Sum(r => Math.Pow(r.Features[c] / r.Seconds, 2)))))];
        var a = new double[n * n];
        var b = new double[n];
        foreach (var (features, seconds) in rows)
        {
            for (int i = 0; i < n; i++)
            {
                double x = features[chosen[i]] / seconds / scale[i];
                b[i] += x;
                for (int j = 0; j < n; j++) a[i * n + j] += x * features[chosen[j]] / seconds / scale[j];
            }
        }
        if (Cholesky.Of(a, n, 1e-9) is not { } factor) return null;
        factor.SolveRows(b);
        for (int i = 0; i < n; i++) b[i] /= scale[i];
        return b;
    }
}
