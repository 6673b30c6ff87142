namespace Espalier.Tensors.Kernels;

/// <summary>Into how many parts a direct convolution's units of pixels and panels of outputs are cut, one thread a part; by an
/// estimate in processor cycles from the sizes only, so that it repeats. Each sum is one thread's: the grid never shows in the
/// result.</summary>
internal readonly record struct DirectGrid(int Units, int Panels)
{
    // Cycles: of copying a float, of fetching a float of the weights, of fetching a float of x that another thread has written,
    // as it has those of its lines mostly, and of work that makes a thread worth waking.
    private const double CopyCost = 0.15;
    private const double FetchCost = 0.2;
    private const double ForeignCost = 1.0;
    private const double ThreadCost = 10_000;

    public int Parts => Units * Panels;

    public static DirectGrid Choose(DirectConv conv, in DirectSource source, int threads)
    {
        var best = new DirectGrid(1, 1);
        double lowest = best.Cost(conv, source);
        int most = (int)Math.Clamp(lowest / ThreadCost, 1, threads);
        for (int units = 1; units <= Math.Min(most, source.Units); units++)
        {
            var grid = new DirectGrid(units, Math.Min(most / units, conv.Panels));
            double cost = grid.Cost(conv, source);
            if (cost < lowest) (best, lowest) = (grid, cost);
        }

        return best;
    }

    /// <summary>The units of part <paramref name="index"/>.</summary>
    public (int Start, int End) UnitsOf(int index, int count) => Cut(index / Panels, Units, count);

    /// <summary>The panels of part <paramref name="index"/>.</summary>
    public (int Start, int End) PanelsOf(int index, int count) => Cut(index % Panels, Panels, count);

    // The largest part's sums, a cycle for each pixel and step of a panel; its copy of x; and the weights that it reads.
    private double Cost(DirectConv conv, in DirectSource source)
    {
        double units = Ceiling(source.Units, Units), panels = Ceiling(conv.Panels, Panels);
        double pixels = units * source.Pixels / source.Units;
        double copy = source.Copies ? CopyCost * pixels * conv.Channels : 0;
        double foreign = ForeignCost * pixels * conv.Channels * (1 - (1.0 / Panels));
        return (pixels * panels * conv.Depth) + copy + foreign + (FetchCost * panels * ConvTile.Columns * conv.Depth);
    }

    private static (int Start, int End) Cut(int part, int parts, int count) =>
        ((int)((long)count * part / parts), (int)((long)count * (part + 1) / parts));

    private static int Ceiling(int value, int divisor) => (value + divisor - 1) / divisor;
}
