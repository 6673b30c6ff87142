namespace Espalier.Tensors.Kernels;

/// <summary>Which kernel the low-precision layers of this process use, chosen at first use; null where there is none. Assembled
/// code is left out where the environment variable ESPALIER_ASSEMBLED is 0.</summary>
internal static class DotKernels
{
    private static readonly Lazy<(DotTile? Tile, string Reason)> ChosenInt8 = new(() => ChooseInt8(AssembledAllowed));
    private static readonly Lazy<(DotTile? Tile, string Reason)> ChosenBf16 = new(() => ChooseBf16(AssembledAllowed));

    // Once a process: code stays where it was assembled.
    private static readonly Lazy<(DotTile? Tile, string? Refusal)> AssembledInt8 =
        new(() => Assemble("avx512-vnni", DotInstruction.Int8));
    private static readonly Lazy<(DotTile? Tile, string? Refusal)> AssembledBf16 =
        new(() => Assemble("avx512-bf16", DotInstruction.Bf16));

    public static (DotTile? Tile, string Reason) Int8 => ChosenInt8.Value;

    public static (DotTile? Tile, string Reason) Bf16 => ChosenBf16.Value;

    private static bool AssembledAllowed => Environment.GetEnvironmentVariable("ESPALIER_ASSEMBLED") != "0";

    /// <summary>The best int8 kernel, with or without assembled code, and why; or why there is none.</summary>
    public static (DotTile? Tile, string Reason) ChooseInt8(bool assembled)
    {
        (DotTile? tile, string reason) = Assembled(CpuFeatures.HasAvx512Vnni, "512-bit VNNI", assembled, AssembledInt8);
        if (tile is not null)
        {
            return (tile, reason);
        }

        return Int8TileAvxVnni.IsSupported ? (new Int8TileAvxVnni(), $"the processor has AVX-VNNI; {reason}")
            : Int8TileAvx2.IsSupported ? (new Int8TileAvx2(), $"the processor has AVX2 but no AVX-VNNI; {reason}")
            : Int8TileDotProduct.IsSupported ? (new Int8TileDotProduct(), "the processor has Arm's dot product")
            : (null, "this processor has no 8-bit dot product (AVX-512 VNNI, AVX-VNNI, AVX2 or Arm's), or it is switched off: use fp32");
    }

    /// <summary>The bf16 kernel and why; or why there is none.</summary>
    public static (DotTile? Tile, string Reason) ChooseBf16(bool assembled)
    {
        if (!CpuFeatures.HasAvx512Bf16)
        {
            return (null, "this processor has no bf16 dot product: use fp32 or int8");
        }

        (DotTile? tile, string reason) = Assembled(true, "AVX-512 BF16", assembled, AssembledBf16);
        return (tile, tile is null ? $"{reason}: use fp32 or int8" : reason);
    }

    private static (DotTile? Tile, string Reason) Assembled(
        bool has, string what, bool allowed, Lazy<(DotTile? Tile, string? Refusal)> kernel)
    {
        if (!has || !allowed)
        {
            return (null, has ? $"ESPALIER_ASSEMBLED=0 switches the kernel for {what} off" : $"it has no full-width {what}");
        }

        (DotTile? tile, string? refusal) = kernel.Value;
        return (tile, tile is null
            ? $"the kernel for {what} could not be assembled: {refusal}"
            : $"the processor has full-width {what}; the kernel is assembled at run time");
    }

    private static (DotTile? Tile, string? Refusal) Assemble(string name, DotInstruction instruction)
    {
        AssembledTile? tile = AssembledTile.TryCreate(name, instruction, out string? refusal);
        return (tile, refusal);
    }
}
