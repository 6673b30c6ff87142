namespace Espalier.Tensors.Kernels;

/// <summary>The inner kernel of a low-precision product: sums of products over groups, 4 bytes at a time, for a tile of a few
/// rows by <see cref="Columns"/>. A group is 4 neighbouring k of int8 or 2 of bfloat16; both operands come in panels that hold,
/// for each group, the 4 bytes of every line (row of A, column of B) side by side.</summary>
internal abstract unsafe class DotTile(string name, int maxRows, int columns)
{
    /// <summary>Groups of a panel are a multiple of this: kernels take so many a round.</summary>
    public const int GroupMultiple = 4;

    /// <summary>As reported by <see cref="KernelInfo.For"/>.</summary>
    public string Name { get; } = name;

    /// <summary>Most rows of a tile.</summary>
    public int MaxRows { get; } = maxRows;

    /// <summary>Columns of every tile.</summary>
    public int Columns { get; } = columns;

    /// <summary>Rows of the next tile where <paramref name="rows"/> are left: possibly more, then the panel of A is padded.
    /// </summary>
    public abstract int Height(int rows);

    /// <summary>sums [height, columns] = start [columns] + A B, 32 bits a value.</summary>
    /// <param name="height">As <see cref="Height"/> gave it.</param>
    /// <param name="groups">A multiple of <see cref="GroupMultiple"/>.</param>
    /// <param name="a">[groups, height, 4 bytes]</param>
    /// <param name="b">[groups, columns, 4 bytes], aligned to 64 bytes.</param>
    /// <param name="start">What each column's sums begin with; aligned, as <paramref name="sums"/> is.</param>
    public abstract void Run(int height, nint groups, byte* a, byte* b, void* start, void* sums);
}
