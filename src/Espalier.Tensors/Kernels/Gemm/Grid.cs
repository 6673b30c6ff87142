namespace Espalier.Tensors.Kernels;

/// <summary>How many parts a product's rows, columns and steps are cut into, one thread a part. Chosen by an estimate in
/// processor cycles from the sizes and the number of threads only, so that it repeats.</summary>
internal readonly unsafe record struct Grid(int Rows, int Columns, int Steps)
{
    // Cycles: of packing one value, of reading one from memory, of adding one value of a partial sum, and of work that makes a
    // thread worth waking.
    private const double PackCost = 0.4;
    private const double ReadCost = 0.25;
    private const double SumCost = 0.5;
    private const double ThreadCost = 20_000;

    // Partial sums above this many values would not stay in the cache.
    private const long MaxPartialValues = 256 * 1024;

    public int Parts => Rows * Columns * Steps;

    /// <summary>The cheapest grid of at most <paramref name="threads"/> parts.</summary>
    public static Grid Choose(in Product p, int threads)
    {
        var best = new Grid(1, 1, 1);
        double lowest = best.Cost(p);
        int most = (int)Math.Min(threads, lowest / ThreadCost);
        int mostPanels = Ceiling(p.N, p.Tiles.Columns);
        for (int rows = 1; rows <= Math.Min(most, Ceiling(p.M, p.Tiles.Rows)); rows++)
        {
            int columns = Math.Min(most / rows, mostPanels);
            lowest = best.Improve(p, new Grid(rows, columns, 1), lowest, out best);
            lowest = best.Improve(p, new Grid(rows, columns, most / (rows * columns)), lowest, out best);
            lowest = best.Improve(p, new Grid(rows, 1, most / rows), lowest, out best);
        }

        return best;
    }

    /// <summary>The rows, columns and steps of part <paramref name="index"/>.</summary>
    public (Range Rows, Range Columns, Range Steps) Part(in Product p, int index)
    {
        int column = index % Columns;
        int row = index / Columns % Rows;
        int step = index / (Columns * Rows);
        return (Cut(p.M, p.Tiles.Rows, Rows, row), Cut(p.N, p.Tiles.Columns, Columns, column), Cut(p.K, 8, Steps, step));
    }

    private static Range Cut(int count, int unit, int parts, int part)
    {
        long units = (count + unit - 1) / unit;
        return (int)Math.Min(count, units * part / parts * unit)..(int)Math.Min(count, units * (part + 1) / parts * unit);
    }

    private double Improve(in Product p, Grid other, double lowest, out Grid better)
    {
        bool allowed = other.Steps == 1 || ((long)p.M * p.N <= MaxPartialValues && p.K / other.Steps >= 64);
        double cost = allowed ? other.Cost(p) : double.MaxValue;
        better = cost < lowest ? other : this;
        return Math.Min(cost, lowest);
    }

    // The slowest part's time: its tiles (a tile of R rows takes R cycles a step), its packing, and its share of the sums.
    private double Cost(in Product p)
    {
        int tileRows = p.Tiles.Rows;
        double rows = Math.Min(Blocking.RoundUp(p.M, 4), Ceiling(Ceiling(p.M, tileRows), Rows) * tileRows);
        double panels = Ceiling(Ceiling(p.N, p.Tiles.Columns), Columns);
        double steps = (double)p.K / Steps;
        double packing = rows + (p.Panels == null ? panels * p.Tiles.Columns : 0);

        // Weights too large for the second-level cache are read anew by each part that has these columns.
        bool far = p.Panels != null && (long)p.N * p.K > 2 * Blocking.L2Values;
        double reading = far ? panels * p.Tiles.Columns : 0;
        double sums = Steps == 1 ? 0 : (double)p.M * p.N * (Steps + 1) / Parts;
        return (steps * ((rows * panels) + (PackCost * packing) + (ReadCost * reading))) + (SumCost * sums) + (Parts == 1 ? 0 : ThreadCost / 4);
    }

    private static int Ceiling(int value, int divisor) => (value + divisor - 1) / divisor;
}
