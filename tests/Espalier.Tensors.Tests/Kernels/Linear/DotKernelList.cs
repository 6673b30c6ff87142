using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Linear;

/// <summary>The kernels of low precision that this process can run, by name, for suites that are stamped over all.</summary>
internal static class DotKernelList
{
    private static readonly DotTile[] AllInt8 =
    [
        .. new[] { DotKernels.ChooseInt8(assembled: true).Tile }.OfType<AssembledTile>(),
        .. Int8TileAvxVnni.IsSupported ? new DotTile[] { new Int8TileAvxVnni() } : [],
        .. Int8TileAvx2.IsSupported ? new DotTile[] { new Int8TileAvx2() } : [],
        .. Int8TileDotProduct.IsSupported ? new DotTile[] { new Int8TileDotProduct() } : [],
        new Int8TilePortable(),
    ];

    private static readonly DotTile[] AllBf16 =
    [
        .. new[] { DotKernels.ChooseBf16(assembled: true).Tile }.OfType<AssembledTile>(),
        new Bf16TileReference(),
    ];

    public static TheoryData<string> Int8 => new(AllInt8.Select(tile => tile.Name));

    public static TheoryData<string> Bf16 => new(AllBf16.Select(tile => tile.Name));

    public static DotTile Get(string name) => AllInt8.Concat(AllBf16).Single(tile => tile.Name == name);
}
