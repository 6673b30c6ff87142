namespace Espalier.Reporting;

/// <summary>Which patches of a square grid are still there.</summary>
internal sealed class PatchMask
{
    private readonly bool[] kept;

    /// <param name="tokens">Token numbers: prefix tokens (ignored), then patches row by row.</param>
    /// <exception cref="ArgumentException">A number that is neither a prefix token nor a patch.</exception>
    public PatchMask(IReadOnlyList<int> tokens, int grid, int prefixTokens)
    {
        ArgumentNullException.ThrowIfNull(tokens);
        ArgumentOutOfRangeException.ThrowIfLessThan(grid, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(prefixTokens);
        Grid = grid;
        kept = new bool[grid * grid];
        foreach (int token in tokens)
        {
            if (token < 0 || token >= prefixTokens + kept.Length)
                throw new ArgumentException($"token {token} of {prefixTokens} + {grid} x {grid}", nameof(tokens));
            if (token >= prefixTokens) kept[token - prefixTokens] = true;
        }
    }

    /// <summary>Patches a side.</summary>
    public int Grid { get; }

    public bool this[int row, int column] => kept[row * Grid + column];

    /// <summary>First pixel of patch <paramref name="index"/> along a side; for index = grid, the side's end.</summary>
    public static int Edge(int index, int grid, int pixels) => (int)((long)index * pixels / grid);

    /// <summary>The patch that a pixel belongs to, along one side: the inverse of <see cref="Edge"/>.</summary>
    public static int PatchOf(int pixel, int grid, int pixels) => (int)(((pixel + 1L) * grid - 1) / pixels);
}
