using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Espalier.Tensors.Kernels;

/// <summary>The kernel of one precision: its name, null where this process has none, and why, one line for people.</summary>
public readonly record struct KernelChoice(string? Name, string Reason);

/// <summary>Which matrix kernels this process uses. Chosen once; the environment variable ESPALIER_KERNEL (avx512, avx2, advsimd
/// or portable) chooses lower ones than the processor allows, in single precision; ESPALIER_ASSEMBLED=0 leaves out those that are
/// assembled at run time, for linear layers and convolutions at inference.</summary>
public static class KernelInfo
{
    private static readonly (TileSet Tiles, string Reason) Chosen = Choose(Environment.GetEnvironmentVariable("ESPALIER_KERNEL"));

    /// <summary>"avx512", "avx2", "advsimd" or "portable".</summary>
    public static string Name => Tiles.Name;

    /// <summary>Why these were chosen: one line for people.</summary>
    public static string Reason => Chosen.Reason;

    /// <summary>Rows of the product that a full tile computes at once.</summary>
    public static int TileRows => Tiles.Rows;

    /// <summary>Columns of the product that a tile computes at once.</summary>
    public static int TileColumns => Tiles.Columns;

    /// <summary>What the linear layers of <paramref name="precision"/> run on at inference.</summary>
    public static KernelChoice For(Precision precision) => precision switch
    {
        Precision.Int8 => new KernelChoice(DotKernels.Int8.Tile?.Name, DotKernels.Int8.Reason),
        Precision.Bf16 => new KernelChoice(DotKernels.Bf16.Tile?.Name, DotKernels.Bf16.Reason),
        _ => new KernelChoice(Name, Reason),
    };

    internal static TileSet Tiles => Chosen.Tiles;

    // AVX-512 only where it is wide in earnest: IsHardwareAccelerated is false on processors that slow down for it.
    internal static bool HasAvx512 => Vector512.IsHardwareAccelerated && Avx512F.IsSupported;

    internal static bool HasAvx2 => Avx2.IsSupported && Fma.IsSupported;

    // CPUID leaf 7, EBX bit 16: AVX-512 F. A program of machine code has the instructions that it was compiled for, and no more.
    private static bool IsCompiledForLess => !RuntimeFeature.IsDynamicCodeCompiled && X86Base.IsSupported
        && ((X86Base.CpuId(7, 0).Ebx >> 16) & 1) != 0;

    /// <summary>The best tiles that the processor has, or lower ones where <paramref name="wanted"/> names them.</summary>
    internal static (TileSet Tiles, string Reason) Choose(string? wanted)
    {
        TileSet best = HasAvx512 ? TileSet.Avx512 : HasAvx2 ? TileSet.Avx2
            : Hardware.HasArm64 ? TileSet.AdvSimd : TileSet.Portable;
        string has = best == TileSet.Avx512 ? "the processor has full-width AVX-512"
            : best == TileSet.AdvSimd ? "the processor is a 64-bit Arm"
            : IsCompiledForLess ? "this program was compiled ahead of time without AVX-512, which the processor has: publish it with "
                + "IlcInstructionSet=x86-64-v4"
            : best == TileSet.Avx2 ? "the processor has AVX2 and FMA but no full-width AVX-512, or it is switched off"
            : "the processor has no AVX2 with FMA, or it is switched off";
        TileSet? forced = wanted switch
        {
            "avx512" when HasAvx512 => TileSet.Avx512,
            "avx2" when HasAvx2 => TileSet.Avx2,
            "advsimd" when Hardware.HasArm64 => TileSet.AdvSimd,
            "portable" => TileSet.Portable,
            _ => null,
        };
        string reason = forced is not null ? $"ESPALIER_KERNEL asks for {wanted}"
            : string.IsNullOrEmpty(wanted) ? has
            : $"{has}; ESPALIER_KERNEL={wanted} is not one of its kernels and is ignored";
        return (forced ?? best, reason);
    }
}
