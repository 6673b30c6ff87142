namespace Espalier.Compression.Methods.LowRank;

/// <summary>
/// Cubic interpolation that rises where its points rise (Fritsch and Butland 1984): slopes are weighted harmonic means of those
/// of the neighbouring stretches, those at the ends of three points. The same as MATLAB's and SciPy's pchip.
/// </summary>
internal sealed class Pchip
{
    private readonly double[] x, y, slopes;

    /// <param name="x">At least two, rising.</param>
    public Pchip(double[] x, double[] y)
    {
        if (x.Length < 2 || x.Length != y.Length) throw new ArgumentException($"pchip: {x.Length} places and {y.Length} values");
        for (int i = 1; i < x.Length; i++) if (!(x[i] > x[i - 1])) throw new ArgumentException("pchip: places do not rise");
        (this.x, this.y, slopes) = (x, y, new double[x.Length]);
        int n = x.Length;
        double[] h = [.. Enumerable.Range(0, n - 1).Select(i => x[i + 1] - x[i])],
            d = [.. h.Select((w, i) => (y[i + 1] - y[i]) / w)];
        if (n == 2)
        {
            slopes[0] = slopes[1] = d[0];
            return;
        }
        for (int i = 1; i < n - 1; i++)
        {
            if (d[i - 1] * d[i] <= 0) continue;
            double a = 2 * h[i] + h[i - 1], b = h[i] + 2 * h[i - 1];
            slopes[i] = (a + b) / (a / d[i - 1] + b / d[i]);
        }
        slopes[0] = End(h[0], h[1], d[0], d[1]);
        slopes[n - 1] = End(h[^1], h[^2], d[^1], d[^2]);
    }

    /// <summary>The value at a place; outside of the points the nearest of them.</summary>
    public double At(double place)
    {
        if (place <= x[0]) return y[0];
        if (place >= x[^1]) return y[^1];
        int i = Array.BinarySearch(x, place);
        if (i >= 0) return y[i];
        i = ~i - 1;
        double h = x[i + 1] - x[i], t = (place - x[i]) / h, d = (y[i + 1] - y[i]) / h;
        double c = 3 * d - 2 * slopes[i] - slopes[i + 1], b = slopes[i] + slopes[i + 1] - 2 * d;
        return y[i] + h * t * (slopes[i] + t * (c + t * b));
    }

    private static double End(double near, double far, double nearSlope, double farSlope)
    {
        double slope = ((2 * near + far) * nearSlope - near * farSlope) / (near + far);
        if (slope * nearSlope <= 0) return 0;
        return nearSlope * farSlope <= 0 && Math.Abs(slope) > 3 * Math.Abs(nearSlope) ? 3 * nearSlope : slope;
    }
}
