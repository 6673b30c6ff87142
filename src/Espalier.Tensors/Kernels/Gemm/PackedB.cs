using System.Runtime.InteropServices;
using Espalier.Tensors.Memory;

namespace Espalier.Tensors.Kernels;

/// <summary>A right-hand matrix B [k, n] in panels, packed once for many products: weights at inference. Aligned native memory;
/// the owner disposes it.</summary>
internal sealed unsafe class PackedB : IDisposable
{
    private float* data;

    /// <summary>Packs B.</summary>
    /// <param name="transB">Whether <paramref name="b"/> holds Bᵀ, [n, k] row by row, rather than B.</param>
    /// <param name="ldb">Distance between rows as stored.</param>
    /// <param name="tiles">The tiles that will read it; the process's own where left out.</param>
    public PackedB(bool transB, int n, int k, float* b, int ldb, TileSet? tiles = null)
    {
        Tiles = tiles ?? KernelInfo.Tiles;
        N = n;
        K = k;
        int width = Tiles.Columns;
        nint panels = (n + width - 1) / width;
        nint count = Math.Max(1, panels * width * k);
        data = (float*)NativeBlock.Allocate(checked((nuint)count * sizeof(float)));
        for (nint panel = 0; panel < panels; panel++)
        {
            nint j = panel * width;
            int lines = (int)Math.Min(width, n - j);
            Packing.Panel(b + (transB ? j * ldb : j), transB ? ldb : 1, transB ? 1 : ldb, lines, width, k, data + (j * k));
        }
    }

    ~PackedB() => Free();

    public int N { get; }

    public int K { get; }

    public TileSet Tiles { get; }

    /// <summary>[panels, k, columns of a tile]</summary>
    /// <exception cref="ObjectDisposedException">It has been disposed.</exception>
    public float* Data
    {
        get
        {
            ObjectDisposedException.ThrowIf(data == null, this);
            return data;
        }
    }

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        NativeMemory.AlignedFree(data);
        data = null;
    }
}
