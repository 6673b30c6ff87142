using System.Runtime.Intrinsics.X86;

namespace Espalier.Tensors.Kernels;

/// <summary>Instructions that .NET has no intrinsics for, as CPUID reports them (Intel 64 and IA-32 Architectures Software
/// Developer's Manual, volume 2, CPUID; AMD64 Architecture Programmer's Manual, volume 3, appendix E). Only where
/// <see cref="Hardware.Has512"/> says that the operating system keeps 512-bit registers and that they are not slow.</summary>
internal static class CpuFeatures
{
    private const int Extended = 7;

    /// <summary>VPDPBUSD on 512-bit registers: leaf 7, ECX bit 11.</summary>
    public static bool HasAvx512Vnni { get; } = Hardware.Has512 && HasBit(X86Base.CpuId(Extended, 0).Ecx, 11);

    /// <summary>VDPBF16PS on 512-bit registers: leaf 7, subleaf 1 (EAX of subleaf 0 says how many there are), EAX bit 5.
    /// </summary>
    public static bool HasAvx512Bf16 { get; } =
        Hardware.Has512 && X86Base.CpuId(Extended, 0).Eax >= 1 && HasBit(X86Base.CpuId(Extended, 1).Eax, 5);

    private static bool HasBit(int register, int bit) => ((register >> bit) & 1) != 0;
}
