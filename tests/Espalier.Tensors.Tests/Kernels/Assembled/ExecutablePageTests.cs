using System.Globalization;
using System.Runtime.InteropServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Assembled;

public sealed unsafe class ExecutablePageTests
{
    [Fact]
    public void CodeCanBeCalledAndNoLongerWritten()
    {
        // mov eax, 42; ret
        byte* page = ExecutablePage.Create([0xB8, 42, 0, 0, 0, 0xC3], out string? refusal);
        bool known = OperatingSystem.IsLinux() || OperatingSystem.IsWindows();
        if (RuntimeInformation.ProcessArchitecture != Architecture.X64 || !known)
        {
            Assert.True(page == null);
            Assert.NotNull(refusal);
            return;
        }

        Assert.Null(refusal);
        Assert.Equal(42, ((delegate* unmanaged<int>)page)());
        if (OperatingSystem.IsLinux())
        {
            Assert.Equal("r-xp", Permissions((nint)page));
        }
    }

    [Fact]
    public void TheKernelsLieInPagesThatCannotBeWritten()
    {
        DotTile?[] tiles = [DotKernels.ChooseInt8(assembled: true).Tile, DotKernels.ChooseBf16(assembled: true).Tile];
        foreach (AssembledTile tile in tiles.OfType<AssembledTile>())
        {
            for (int rows = 1; OperatingSystem.IsLinux() && rows <= tile.MaxRows; rows++)
            {
                Assert.Equal("r-xp", Permissions(tile.Address(rows)));
            }
        }
    }

    private static string Permissions(nint address)
    {
        foreach (string line in File.ReadLines("/proc/self/maps"))
        {
            string[] words = line.Split(' ');
            string[] bounds = words[0].Split('-');
            if ((ulong)address >= ulong.Parse(bounds[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture)
                && (ulong)address < ulong.Parse(bounds[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture))
            {
                return words[1];
            }
        }

        return "";
    }
}
