using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace Espalier.Tensors.Kernels;

/// <summary>Which width the kernels take on this processor. Constants to the JIT: the other branches are not compiled.</summary>
internal static class Hardware
{
    /// <summary>AVX-512, and the processor does not slow down for it.</summary>
    public static bool Has512 => Vector512.IsHardwareAccelerated && Avx512F.IsSupported;

    /// <summary>AVX2 with FMA.</summary>
    public static bool Has256 => Vector256.IsHardwareAccelerated && Fma.IsSupported;

    /// <summary>64-bit Arm: vectors of 128 bits, but 32 registers of them, as AVX-512 has.</summary>
    public static bool HasArm64 => AdvSimd.Arm64.IsSupported;
}
