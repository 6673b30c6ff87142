namespace Espalier.Tensors.Kernels;

/// <summary>How a product is cut: into blocks that fit the caches, and into one part a thread. Sizes are for 48 kB of L1 data
/// cache and 1 MB of L2 a core; smaller caches only cost speed.</summary>
internal static class Blocking
{
    /// <summary>Most steps of K in a block. A panel of B then is read from L2, which keeps up; in return C is passed over less
    /// often than with panels that fit L1. Measured: 256 and 384 are 2 to 8 % slower on wide products, the same on narrow.
    /// </summary>
    public const int MaxSteps = 768;

    /// <summary>Most columns of B packed at a time: 3 MB a thread.</summary>
    public const int MaxColumns = 1024;

    /// <summary>Values of A or of B that may stay in L2: half of it.</summary>
    public const int L2Values = 128 * 1024;

    /// <summary>Up to so many panels of B, A is read where it lies: packing it would cost more than it saves.</summary>
    public const int DirectPanels = 4;

    /// <summary>Up to so many rows of A, B is read where it lies.</summary>
    public const int DirectRows = 24;

    /// <summary>Tiles of rows in a block where all of the block of B stays in L2.</summary>
    public const int SmallRows = 4;

    /// <summary>Steps of K in each block but the last: equal blocks, none above <see cref="MaxSteps"/>.</summary>
    public static int Steps(int k)
    {
        int blocks = Math.Max(1, (k + MaxSteps - 1) / MaxSteps);
        return Math.Max(1, RoundUp((k + blocks - 1) / blocks, 8));
    }

    /// <summary>Rows of A in each block but the last: few where all of the block of B stays in L2, so that they stay in L1; as
    /// many as L2 holds where B streams past.</summary>
    public static int Rows(int tileRows, int columns, int steps) =>
        (long)columns * steps <= L2Values ? SmallRows * tileRows : Math.Max(1, L2Values / steps / tileRows) * tileRows;

    public static int RoundUp(int value, int multiple) => (value + multiple - 1) / multiple * multiple;
}
