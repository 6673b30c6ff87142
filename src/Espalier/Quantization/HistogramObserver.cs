using Espalier.Training;

namespace Espalier.Quantization;

/// <summary>
/// An observer that counts values in bins. A bin is a power of two wide and begins at a multiple of that, so that where values
/// leave the bins, two neighbours become one and no count is spread.
/// </summary>
internal sealed class HistogramObserver(ObserverKind kind) : Observer
{
    private const int Bins = 2048, Shrinks = 100;

    private const double LeastShrink = 0.3;

    private static readonly double[] Percentiles = [0.999, 0.9999, 0.99999];

    private readonly long[] counts = new long[Bins];
    private double width;
    private long first;
    private float low, high;

    private protected override void Add(ReadOnlySpan<float> batch, float min, float max, bool isFirst)
    {
        (low, high) = isFirst ? (min, max) : (Math.Min(low, min), Math.Max(high, max));
        // All values alike would have bins of no width.
        double room = Math.Max((double)high - low, Math.Max(1e-30, 1e-6 * Math.Max(Math.Abs(high), Math.Abs(low))));
        if (isFirst)
        {
            width = Math.ScaleB(1, (int)Math.Ceiling(Math.Log2(room / (Bins - 2))));
            first = (long)Math.Floor(low / width);
        }
        while (Math.Floor(low / width) < first || Math.Floor(high / width) >= first + Bins) Widen();
        double inverse = 1 / width;
        foreach (float x in batch) counts[(long)Math.Floor(x * inverse) - first]++;
    }

    /// <summary>Moves the bins to where the values begin, or makes them twice as wide where they are too few.</summary>
    private void Widen()
    {
        // Not as whole numbers: behind a batch of zeros alone bins are so narrow that these would be past the largest.
        double least = Math.Floor(low / width), most = Math.Floor(high / width);
        var old = (long[])counts.Clone();
        Array.Clear(counts);
        bool fits = most - least < Bins;
        long start = fits ? (long)least : first >> 1;
        for (int i = 0; i < Bins; i++)
        {
            if (old[i] == 0) continue;
            long at = first + i;
            counts[(fits ? at : at >> 1) - start] += old[i];
        }
        if (!fits) width *= 2;
        first = start;
    }

    private protected override (float Min, float Max) Found(CodeFormat format)
    {
        if (kind == ObserverKind.Percentile)
        {
            return Percentiles.Select(p => (Min: Quantile(1 - p), Max: Quantile(p))).MinBy(r => SquaredError(format, r.Min,
                r.Max));
        }
        if (kind == ObserverKind.Histogram) return Narrowed(format.High - format.Low + 1);
        (float, float) best = (low, high);
        double least = double.PositiveInfinity;
        // From the widest: of equals that one.
        for (int i = Shrinks - 1; i >= 0; i--)
        {
            float f = (float)(LeastShrink + (1 - LeastShrink) * i / (Shrinks - 1));
            double error = kind == ObserverKind.Mse ? SquaredError(format, f * low, f * high) : Divergence(format, f * low,
                f * high);
            if (error < least) (best, least) = ((f * low, f * high), error);
        }
        return best;
    }

    private protected override void SaveSeen(StateWriter state)
    {
        state.Add("counts", counts);
        state.Add("first", first);
        state.Add("range", width, low, high);
    }

    private protected override void LoadSeen(StateReader state)
    {
        state.ReadLongs("counts").CopyTo(counts, 0);
        first = state.ReadLong("first");
        double[] range = state.ReadDoubles("range");
        (width, low, high) = (range[0], (float)range[1], (float)range[2]);
    }

    /// <summary>
    /// Steps of 1e-5 of all values from either side, each time on the one where more bins go for it, until the error grows.
    /// </summary>
    private (float Min, float Max) Narrowed(int levels)
    {
        const double Step = 1e-5;
        int start = Array.FindIndex(counts, c => c > 0), end = Array.FindLastIndex(counts, c => c > 0);
        var below = new double[Bins];
        double all = 0, left = 0, right = 1, least = double.PositiveInfinity;
        for (int i = 0; i < Bins; i++) below[i] = all += counts[i];
        var whole = (First: start, Last: end);
        while (left < right)
        {
            int l = start, r = end;
            while (l < end && below[l] < (left + Step) * all) l++;
            while (r > start && below[r] > (right - Step) * all) r--;
            (int From, int To) next = (start, end);
            if (l - start > end - r) (next.From, left) = (l, left + Step);
            else (next.To, right) = (r, right - Step);
            if (next == (start, end)) continue;
            double error = SpreadError(next.From, next.To, levels);
            if (error > least) break;
            (least, start, end) = (error, next.From, next.To);
        }
        return ((float)(start == whole.First ? low : (first + start) * width), (float)(end == whole.Last ? high
            : (first + end + 1) * width));
    }

    /// <summary>The squared error of values that are spread evenly in their bins, in so many equal cells from the first bin's
    /// begin to the last one's end; what lies outside goes to the cells there.</summary>
    private double SpreadError(int start, int end, int levels)
    {
        double cell = width * (end - start + 1) / levels, sum = 0;
        for (int i = 0; i < Bins; i++)
        {
            if (counts[i] == 0) continue;
            double from = (i - start) * width, to = from + width;
            double a = Math.Clamp(Math.Floor(from / cell), 0, levels - 1), b = Math.Clamp(Math.Floor(to / cell), 0, levels - 1);
            double density = counts[i] / width;
            sum += density * (Cubes(from - (a + 0.5) * cell, cell / 2) + (b - a - 1) * Cubes(-cell / 2, cell / 2)
                + Cubes(-cell / 2, to - (b + 0.5) * cell));
        }
        return sum;

        static double Cubes(double from, double to) => (to * to * to - from * from * from) / 3;
    }

    /// <summary>The value below which a share of all lie; inside a bin as if they were spread evenly.</summary>
    private float Quantile(double share)
    {
        double wanted = share * counts.Sum(), before = 0;
        for (int i = 0; i < Bins; i++)
        {
            if (before + counts[i] >= wanted && counts[i] > 0)
                return Math.Clamp((float)((first + i + (wanted - before) / counts[i]) * width), low, high);
            before += counts[i];
        }
        return high;
    }

    /// <summary>Of the middles of the bins.</summary>
    private double SquaredError(CodeFormat format, float min, float max)
    {
        var (scale, zero) = format.Fit(min, max);
        double sum = 0;
        for (int i = 0; i < Bins; i++)
        {
            if (counts[i] == 0) continue;
            double x = (first + i + 0.5) * width, e = format.Rounded((float)x, scale, zero) - x;
            sum += counts[i] * e * e;
        }
        return sum;
    }

    /// <summary>
    /// KL(P | Q): P are the counts, those outside of the range at its ends; Q spreads the counts of each code evenly over the
    /// bins of it that have any.
    /// </summary>
    private double Divergence(CodeFormat format, float min, float max)
    {
        var (scale, zero) = format.Fit(min, max);
        int levels = format.High - format.Low + 1, from = Bins, to = -1;
        var codes = new int[Bins];
        for (int i = 0; i < Bins; i++)
        {
            double x = (first + i + 0.5) * width, code = Math.Round(x / scale) + zero;
            codes[i] = (int)Math.Clamp(code, format.Low - 1, format.High + 1) - format.Low;
            if (codes[i] < 0 || codes[i] >= levels) continue;
            (from, to) = (Math.Min(from, i), Math.Max(to, i));
        }
        if (to < 0) return double.PositiveInfinity;
        double[] p = new double[Bins], own = new double[levels];
        double all = 0, kept = 0;
        var used = new int[levels];
        for (int i = 0; i < Bins; i++)
        {
            p[Math.Clamp(i, from, to)] += counts[i];
            all += counts[i];
            if (i < from || i > to || counts[i] == 0) continue;
            own[codes[i]] += counts[i];
            used[codes[i]]++;
            kept += counts[i];
        }
        double divergence = 0;
        for (int i = from; i <= to; i++)
        {
            if (p[i] == 0) continue;
            double q = counts[i] == 0 ? 0 : own[codes[i]] / used[codes[i]] / kept, share = p[i] / all;
            divergence += share * Math.Log(share / Math.Max(q, 1e-12));
        }
        return divergence;
    }
}
