using Iced.Intel;
using static Iced.Intel.AssemblerRegisters;

namespace Espalier.Tensors.Kernels;

/// <summary>What assembled functions share: the order of the vector registers, those that Windows wants back, and the bytes.
/// </summary>
internal static class AssembledFrame
{
    private const int CacheLine = 64;

    // All but the last ten of Registers: zmm6 to zmm15 keep their lower halves on Windows.
    private const int Free = 22;

    private static readonly AssemblerRegisterXMM[] SavedOnWindows =
        [xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15];

    /// <summary>The vector registers, those first that a function may overwrite under both conventions.</summary>
    public static AssemblerRegisterZMM[] Registers { get; } =
    [
        zmm16, zmm17, zmm18, zmm19, zmm20, zmm21, zmm22, zmm23, zmm24, zmm25, zmm26, zmm27, zmm28, zmm29, zmm30, zmm31,
        zmm0, zmm1, zmm2, zmm3, zmm4, zmm5, zmm6, zmm7, zmm8, zmm9, zmm10, zmm11, zmm12, zmm13, zmm14, zmm15,
    ];

    /// <summary>How many registers a function that uses the first <paramref name="used"/> has to save.</summary>
    /// <param name="windows">Whether it obeys the Windows x64 calling convention rather than System V's.</param>
    public static int Saved(int used, bool windows) => windows ? Math.Clamp(used - Free, 0, SavedOnWindows.Length) : 0;

    /// <summary>Puts so many registers on the stack.</summary>
    public static void Save(Assembler code, int count)
    {
        if (count > 0)
        {
            code.sub(rsp, 16 * count);
        }

        for (int i = 0; i < count; i++)
        {
            code.vmovups(__xmmword_ptr[rsp + (16 * i)], SavedOnWindows[i]);
        }
    }

    /// <summary>Takes them back.</summary>
    public static void Restore(Assembler code, int count)
    {
        for (int i = 0; i < count; i++)
        {
            code.vmovups(SavedOnWindows[i], __xmmword_ptr[rsp + (16 * i)]);
        }

        if (count > 0)
        {
            code.add(rsp, 16 * count);
        }
    }

    /// <summary>The function's code, filled up to whole cache lines: functions are laid out one after the other, and loops that
    /// begin on a line fetch best.</summary>
    public static byte[] Bytes(Assembler code)
    {
        using var stream = new MemoryStream();
        code.Assemble(new StreamCodeWriter(stream), rip: 0);
        while (stream.Length % CacheLine != 0)
        {
            stream.WriteByte(0xCC);
        }

        return stream.ToArray();
    }
}
