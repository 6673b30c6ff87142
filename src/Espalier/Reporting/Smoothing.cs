namespace Espalier.Reporting;

/// <summary>What is drawn of a curve that has more points than a small chart can tell apart.</summary>
internal static class Smoothing
{
    /// <summary>From this many points on, the record is drawn faint and its moving mean over it.</summary>
    public const int From = 160;

    private const int MostPoints = 200;

    public static bool IsLong(Curve curve) => curve.Points.Count >= From;

    /// <summary>The curve itself, or where it is long its moving mean at about 200 steps.</summary>
    public static IReadOnlyList<CurvePoint> Shown(Curve curve)
    {
        if (!IsLong(curve)) return curve.Points;
        var points = curve.Points;
        int last = points.Count - 1, radius = points.Count / 50, shown = Math.Min(points.Count, MostPoints);
        var means = new CurvePoint[shown];
        for (int k = 0; k < shown; k++)
        {
            int i = (int)((long)k * last / (shown - 1));
            int reach = Math.Min(radius, i);
            means[k] = new CurvePoint(points[i].Step, Mean(points, i - reach, Math.Min(i + reach, last)));
        }
        return means;
    }

    /// <summary>At most the smallest and the largest value of each pixel column: the same picture from fewer points.</summary>
    public static List<CurvePoint> Thin(IReadOnlyList<CurvePoint> points, Axis x)
    {
        var kept = new List<CurvePoint>();
        foreach (var column in points.Where(p => double.IsFinite(p.Value)).GroupBy(p => (int)x[p.Step]))
        {
            CurvePoint low = column.MinBy(p => p.Value), high = column.MaxBy(p => p.Value);
            kept.Add(low.Step <= high.Step ? low : high);
            if (low != high) kept.Add(low.Step <= high.Step ? high : low);
        }
        return kept;
    }

    /// <summary>Over a window that narrows towards the start, where curves are steep, but not towards the end.</summary>
    private static double Mean(IReadOnlyList<CurvePoint> points, int first, int last)
    {
        double sum = 0;
        int count = 0;
        for (int i = first; i <= last; i++)
            if (double.IsFinite(points[i].Value)) (sum, count) = (sum + points[i].Value, count + 1);
        return count == 0 ? double.NaN : sum / count;
    }
}
