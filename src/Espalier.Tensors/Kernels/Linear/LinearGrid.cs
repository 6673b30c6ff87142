namespace Espalier.Tensors.Kernels;

/// <summary>How many parts the rows and the column panels of a low-precision product are cut into, one thread a part. Each sum
/// is one thread's, so the grid never shows in the result.</summary>
internal readonly record struct LinearGrid(int Rows, int Panels)
{
    // Cycles: of finishing a row of a tile, of rounding and packing a row, for each group, and of work that makes a thread worth
    // waking. Panels pass at the pace of this many rows at least: that of L3.
    private const double FinishCost = 12;
    private const double PackCost = 0.6;
    private const double ThreadCost = 10_000;
    private const int FewestRows = 6;

    public int Parts => Rows * Panels;

    /// <summary>The grid whose largest part takes the least time.</summary>
    public static LinearGrid Choose(int rows, int panels, nint groups, int threads)
    {
        double lowest = Cost(rows, panels, groups);
        int most = (int)Math.Clamp(lowest / ThreadCost, 1, threads);
        var best = new LinearGrid(1, 1);
        for (int cut = 1; cut <= Math.Min(most, rows); cut++)
        {
            var grid = new LinearGrid(cut, Math.Min(most / cut, panels));
            double cost = Cost(Ceiling(rows, grid.Rows), Ceiling(panels, grid.Panels), groups);
            if (cost < lowest)
            {
                (best, lowest) = (grid, cost);
            }
        }

        return best;
    }

    /// <summary>Part <paramref name="index"/>'s first row and the one after its last; the same of panels.</summary>
    public (int Row, int RowEnd, int Panel, int PanelEnd) Part(int rows, int panels, int index)
    {
        int row = index / Panels, panel = index % Panels;
        return (
            Bound(rows, Rows, row), Bound(rows, Rows, row + 1), Bound(panels, Panels, panel), Bound(panels, Panels, panel + 1));
    }

    // A row takes a cycle a group in each panel: two products of 16 lanes.
    private static double Cost(int rows, int panels, nint groups) =>
        Math.Max(rows, FewestRows) * ((panels * (groups + FinishCost)) + (PackCost * groups));

    private static int Bound(int count, int parts, int part) => (int)((long)count * part / parts);

    private static int Ceiling(int value, int divisor) => (value + divisor - 1) / divisor;
}
