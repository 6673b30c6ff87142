using unsafe TileRun = delegate*<nint, float*, nint, nint, float*, nint, float*, nint, float*, nint, void>;

namespace Espalier.Tensors.Kernels;

/// <summary>The tiles of one instruction set: a full tile of <see cref="Rows"/> by <see cref="Columns"/> and lower ones of the
/// same width for the last rows.
/// <para>Every tile computes C = A B + D over k steps. Its arguments: k; A, the distance between its rows and between its
/// steps; B, whose rows of <see cref="Columns"/> values are contiguous, and the distance between its steps; D and C and the
/// distance between their rows. So it reads packed panels and plain matrices alike. A distance of 0 for D's rows adds a
/// bias. D may be C. All of the tile is read and written: a caller with fewer rows or columns passes padded copies.</para>
/// </summary>
internal sealed unsafe class TileSet
{
    private readonly int[] heights;
    private readonly TileRun[] tiles;

    private TileSet(string name, int columns, int[] heights, params TileRun[] tiles)
    {
        Name = name;
        Columns = columns;
        this.heights = heights;
        this.tiles = tiles;
    }

    public static TileSet Avx512 { get; } =
        new("avx512", 32, [4, 8, 12], &Tile4x32Avx512.Run, &Tile8x32Avx512.Run, &Tile12x32Avx512.Run);

    public static TileSet Avx2 { get; } = new("avx2", 16, [4, 6], &Tile4x16Avx2.Run, &Tile6x16Avx2.Run);

    public static TileSet AdvSimd { get; } = new("advsimd", 12, [4, 8], &TileAdvSimd.Four, &TileAdvSimd.Eight);

    public static TileSet Portable { get; } = new("portable", 8, [4], &TilePortable.Run);

    /// <summary>As in <see cref="KernelInfo.Name"/>.</summary>
    public string Name { get; }

    /// <summary>Rows of the full tile.</summary>
    public int Rows => heights[^1];

    /// <summary>Columns of every tile.</summary>
    public int Columns { get; }

    /// <summary>The lowest tile that covers <paramref name="rows"/> rows, or the full one where none does.</summary>
    public TileRun Choose(int rows, out int height)
    {
        int index = 0;
        while (heights[index] < rows && index < heights.Length - 1)
        {
            index++;
        }

        height = heights[index];
        return tiles[index];
    }
}
