namespace Espalier.Tensors.Kernels;

/// <summary>How many parts the rows and the column panels of a low-precision product are cut into, one thread a part. Each sum
/// is one thread's, so the grid never shows in the result.</summary>
internal readonly record struct LinearGrid(int Rows, int Panels)
{
    // In the time that one row takes in one panel: rounding a row, and the least that reading a panel from L3 costs.
    private const double RoundRow = 1;
    private const int FewestRows = 6;

    // Cycles of work that make a thread worth waking.
    private const double ThreadCost = 20_000;

    public int Parts => Rows * Panels;

    /// <summary>The grid whose largest part takes the least time.</summary>
    public static LinearGrid Choose(int rows, int panels, nint groups, int threads)
    {
        // A row takes a cycle a group: two products of 16 lanes.
        int most = (int)Math.Clamp((double)rows * panels * groups / ThreadCost, 1, threads);
        var best = new LinearGrid(1, 1);
        double lowest = double.MaxValue;
        for (int cut = 1; cut <= Math.Min(most, rows); cut++)
        {
            var grid = new LinearGrid(cut, Math.Min(most / cut, panels));
            double rowsEach = Math.Max(FewestRows, Ceiling(rows, grid.Rows));
            double time = rowsEach * (Ceiling(panels, grid.Panels) + RoundRow);
            if (time < lowest)
            {
                (best, lowest) = (grid, time);
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

    private static int Bound(int count, int parts, int part) => (int)((long)count * part / parts);

    private static int Ceiling(int value, int divisor) => (value + divisor - 1) / divisor;
}
