namespace Espalier.Tensors.Kernels;

/// <summary>How many parts the tiles of 4 x 4 outputs and the panels of a convolution by <see cref="Winograd"/> are cut into,
/// and how many tiles are transformed together; chosen from the sizes by an estimate in processor cycles.</summary>
internal readonly record struct WinogradGrid(int Tiles, int Panels, int Block, int Lines, int Columns, int Count)
{
    // Cycles: of the transforms for a tile's vector of channels or outputs, or a single one of those left over; of fetching a
    // float of weights, and one of x that another thread has written; and the share of the peak that products of so few steps
    // reach.
    private const double InputCost = 110;
    private const double OutputCost = 90;
    private const double FetchCost = 0.5;
    private const double ForeignCost = 1.0;
    private const double Efficiency = 0.85;
    private const double ThreadCost = 10_000;

    // Floats of transformed pixels: a part's share of L2, or, where the weights do not stay there either, more.
    private const int BlockFloats = 96 * 1024;
    private const int MostTiles = 112;
    private const int FewestTiles = 28;

    public int Parts => Tiles * Panels;

    /// <summary>Whether the transforms are expected to be faster than the direct convolution, by a tenth at least.</summary>
    public static bool Faster(DirectConv direct, int images, in Window window)
    {
        double tiles = CountTiles(images, window, out _, out _);
        double transformed = Compute(direct, tiles, direct.Panels) + Fetch(direct);
        double sums = (double)images * window.OutArea * direct.Depth * direct.Panels;
        return transformed < 0.9 * sums;
    }

    public static WinogradGrid Choose(DirectConv direct, int images, in Window window, int threads)
    {
        int count = CountTiles(images, window, out int lines, out int columns);
        int block = Math.Clamp(BlockFloats / (Winograd.Values * direct.Channels), FewestTiles, MostTiles);
        var best = new WinogradGrid(1, 1, block, lines, columns, count);
        double lowest = best.Cost(direct);
        int most = (int)Math.Clamp(lowest / ThreadCost, 1, threads);
        for (int tiles = 1; tiles <= Math.Min(most, count); tiles++)
        {
            WinogradGrid grid = best with { Tiles = tiles, Panels = Math.Min(most / tiles, direct.Panels) };
            double cost = grid.Cost(direct);
            if (cost < lowest) (best, lowest) = (grid, cost);
        }

        return best;
    }

    /// <summary>The tiles of part <paramref name="index"/>.</summary>
    public (int Start, int End) TilesOf(int index) => Cut(index / Panels, Tiles, Count);

    /// <summary>The panels of part <paramref name="index"/>.</summary>
    public (int Start, int End) PanelsOf(int index, int count) => Cut(index % Panels, Panels, count);

    private double Cost(DirectConv direct)
    {
        double tiles = Math.Ceiling((double)Count / Tiles), panels = Math.Ceiling((double)direct.Panels / Panels);
        double foreign = ForeignCost * tiles * Winograd.Out * Winograd.Out * direct.Channels * (1 - (1.0 / Panels));
        return Compute(direct, tiles, panels) + foreign + (Fetch(direct) / Panels);
    }

    private static double Compute(DirectConv direct, double tiles, double panels)
    {
        double products = Winograd.Values * (double)direct.Channels * panels / Efficiency;
        double outputs = (direct.Outputs / ConvTile.Lanes) + (direct.Outputs % ConvTile.Lanes);
        double inputs = (direct.Channels / ConvTile.Lanes) + (direct.Channels % ConvTile.Lanes);
        return tiles * (products + (InputCost * inputs) + (OutputCost * outputs * panels / direct.Panels));
    }

    private static double Fetch(DirectConv direct) =>
        FetchCost * Winograd.Values * direct.Channels * Blocking.RoundUp(direct.Outputs, ConvTile.Lanes);

    private static int CountTiles(int images, in Window window, out int lines, out int columns)
    {
        lines = (window.OutHeight + Winograd.Out - 1) / Winograd.Out;
        columns = (window.OutWidth + Winograd.Out - 1) / Winograd.Out;
        return images * lines * columns;
    }

    private static (int Start, int End) Cut(int part, int parts, int count) =>
        ((int)((long)count * part / parts), (int)((long)count * (part + 1) / parts));
}
