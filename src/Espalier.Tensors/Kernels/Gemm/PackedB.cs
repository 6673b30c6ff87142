using System.Runtime.InteropServices;
using Espalier.Tensors.Memory;
using Espalier.Tensors.Threading;

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
        int panels = (n + width - 1) / width;
        nint count = Math.Max(1, (nint)panels * width * k);
        data = (float*)NativeBlock.Allocate(checked((nuint)count * sizeof(float)));
        Workers.For(panels, Grain.For((long)width * k), new PackJob(b, transB ? ldb : 1, transB ? 1 : ldb, n, width, k, data));
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

    private readonly struct PackJob(float* b, nint lineStride, nint stepStride, int lines, int width, int k, float* data) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (nint panel = start; panel < end; panel++)
            {
                nint j = panel * width;
                Packing.Panel(b + (j * lineStride), lineStride, stepStride, (int)Math.Min(width, lines - j), width, k, data + (j * k));
            }
        }
    }

    private void Free()
    {
        NativeMemory.AlignedFree(data);
        data = null;
    }
}
