using System.Runtime.InteropServices;

namespace Espalier.Tensors.Kernels;

/// <summary>The tile of the direct convolution: up to 14 output pixels by 16 or 32 outputs, summed over all that the pixels see,
/// with bias, residual and activation while the sums are in registers. The pixels are two groups that each lie evenly, so that
/// two lines of a map 7 wide make one tile. Machine code, assembled at first use, one function for each size.</summary>
internal sealed unsafe class ConvTile
{
    /// <summary>Most pixels of a tile.</summary>
    public const int MaxPixels = AssembledConv.MaxPixels;

    /// <summary>Outputs that a tile of two vectors has.</summary>
    public const int Columns = 32;

    /// <summary>Bytes of a cache line: what a tile fetches ahead a step.</summary>
    public const int AheadBytes = 64;

    /// <summary>Outputs of one vector.</summary>
    public const int Lanes = 16;

    private static readonly Lazy<ConvTile?> Assembled = new(() => Hardware.Has512 ? Create(codes: false) : null);
    private static readonly Lazy<ConvTile?> AssembledCodes = new(() => CpuFeatures.HasAvx512Vnni ? Create(codes: true) : null);

    private readonly delegate* unmanaged[SuppressGCTransition]<Arguments*, void>[] functions;

    private ConvTile(byte* page, int[] offsets)
    {
        functions = new delegate* unmanaged[SuppressGCTransition]<Arguments*, void>[offsets.Length];
        for (int i = 0; i < offsets.Length; i++)
            functions[i] = (delegate* unmanaged[SuppressGCTransition]<Arguments*, void>)(page + offsets[i]);
    }

    /// <summary>What the sums begin with, and what happens to them at the end.</summary>
    [Flags]
    public enum Modes
    {
        None = 0,

        /// <summary>The sums go on from what y holds; else they begin with the bias.</summary>
        Continue = 1,

        /// <summary>max(sum, 0).</summary>
        Relu = 2,

        /// <summary>min(sum, limit).</summary>
        Limit = 4,

        /// <summary>Of a tile of codes: sums become codes, with the scales and numbers of the arguments; y is bytes.</summary>
        Codes = 8,

        /// <summary>The same, and codes of the residual are added, whose pixels are as far apart as y's.</summary>
        Added = 16,
    }

    /// <summary>The fields of <see cref="CodeNumbers"/> behind the order, 4 bytes each.</summary>
    public enum Number
    {
        Zero,
        Least,
        Most,
        Rounder,
        Back,
        Own,
        Other,
        Fixed,
    }

    /// <summary>The fields of <see cref="Arguments"/>, 8 bytes each.</summary>
    public enum Slot
    {
        Stretches,
        Steps,
        Offsets,
        X,
        X2,
        RowX,
        Weights,
        Bias,
        Y,
        Y2,
        RowY,
        Residual,
        Residual2,
        RowResidual,
        Limit,
        Modes,
        Mask,
        Ahead,
        Scale,
        Numbers,
    }

    /// <summary>The tile; null where the processor has no full-width AVX-512, or the system lets a process make no code, or the
    /// environment variable ESPALIER_ASSEMBLED is 0.</summary>
    public static ConvTile? Instance => Assembled.Value;

    /// <summary>The tile whose steps are 4 bytes of x, without sign, by 4 of the weights, and whose sums, bias and results are int32;
    /// null where the processor has no such product of full width, or as above.</summary>
    public static ConvTile? Codes => AssembledCodes.Value;

    /// <summary>Computes <paramref name="pixels"/> pixels, 1 to 14, the first half of them, rounded up, in the first group, by 16
    /// or, with <paramref name="vectors"/> = 2, 32 outputs.</summary>
    public void Run(int pixels, int vectors, Arguments* arguments) => functions[Index(pixels, vectors)](arguments);

    /// <summary>Where a number lies, in bytes.</summary>
    public static int Place(Number number) => sizeof(int) * (Lanes + (int)number);

    private static int Index(int pixels, int vectors) => (2 * (pixels - 1)) + vectors - 1;

    private static ConvTile? Create(bool codes)
    {
        if (Environment.GetEnvironmentVariable("ESPALIER_ASSEMBLED") == "0") return null;
        var offsets = new int[2 * MaxPixels];
        using var code = new MemoryStream();
        for (int pixels = 1; pixels <= MaxPixels; pixels++)
        {
            for (int vectors = 1; vectors <= 2; vectors++)
            {
                offsets[Index(pixels, vectors)] = (int)code.Length;
                code.Write(AssembledConv.Assemble(pixels, vectors, codes, OperatingSystem.IsWindows()));
            }
        }

        byte* page = ExecutablePage.Create(code.ToArray(), out _);
        return page == null ? null : new ConvTile(page, offsets);
    }

    /// <summary>What a function gets, behind one pointer. Distances are in bytes.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Arguments
    {
        /// <summary>How many stretches of x are summed over, of how many floats each, and where they begin from a pixel's place
        /// on.</summary>
        public nint Stretches;
        public nint Steps;
        public nint* Offsets;

        /// <summary>The place of the first pixel of each group, and the distance from pixel to pixel.</summary>
        public float* X;
        public float* X2;
        public nint RowX;

        /// <summary>[stretches, steps, 16 or 32]</summary>
        public float* Weights;

        /// <summary>[16 or 32]</summary>
        public float* Bias;
        public float* Y;
        public float* Y2;
        public nint RowY;

        /// <summary>Null for none.</summary>
        public float* Residual;
        public float* Residual2;
        public nint RowResidual;

        /// <summary>The upper limit in its first four bytes.</summary>
        public long Limit;
        public long Modes;

        /// <summary>A bit for each output that there is.</summary>
        public long Mask;

        /// <summary>Where memory begins that will be wanted soon: a line of it is fetched for each step.</summary>
        public void* Ahead;

        /// <summary>[16 or 32] of codes: what the sums of each output are multiplied by.</summary>
        public float* Scale;

        public CodeNumbers* Numbers;
    }

    /// <summary>What all outputs of a convolution of codes have in common: see <see cref="CodesEpilogue"/>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct CodeNumbers
    {
        /// <summary>Which four bytes go where, once sums are packed.</summary>
        public fixed int Order[Lanes];

        /// <summary>The zero point, twice in 16 bits.</summary>
        public int Zero;

        /// <summary>Before a residual is added: where sums are cut, what rounds them, and that less the zero point.</summary>
        public float Least;
        public float Most;
        public float Rounder;
        public float Back;

        /// <summary>See <see cref="CodeSum"/>.</summary>
        public float Own;
        public float Other;
        public float Fixed;
    }
}
