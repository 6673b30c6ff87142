using System.Runtime.InteropServices;
using Espalier.Tensors.Memory;

namespace Espalier.Tensors.Kernels;

/// <summary>Aligned native memory that grows and is kept: one buffer a use and a thread, freed by the finalizer once its thread
/// has gone.</summary>
internal sealed unsafe class GemmScratch
{
    [ThreadStatic]
    private static GemmScratch? panelsA;

    [ThreadStatic]
    private static GemmScratch? panelsB;

    [ThreadStatic]
    private static GemmScratch? partialSums;

    [ThreadStatic]
    private static GemmScratch? edgeTile;

    private float* data;
    private nint length;

    ~GemmScratch() => NativeMemory.AlignedFree(data);

    /// <summary>This thread's packed part of A.</summary>
    public static GemmScratch PanelsA => panelsA ??= new GemmScratch();

    /// <summary>This thread's packed part of B.</summary>
    public static GemmScratch PanelsB => panelsB ??= new GemmScratch();

    /// <summary>Private sums of all the threads of a product that this thread called and that splits K.</summary>
    public static GemmScratch PartialSums => partialSums ??= new GemmScratch();

    /// <summary>A tile that stands in for one which hangs over C's edge.</summary>
    public static GemmScratch EdgeTile => edgeTile ??= new GemmScratch();

    /// <summary>At least <paramref name="count"/> values, aligned to 64 bytes. What they hold is unknown; new ones are zero.
    /// </summary>
    public float* Get(nint count)
    {
        if (count > length)
        {
            float* larger = (float*)NativeBlock.Allocate(checked((nuint)count * sizeof(float)));
            NativeMemory.Clear(larger, (nuint)count * sizeof(float));
            NativeMemory.AlignedFree(data);
            data = larger;
            length = count;
        }

        return data;
    }
}
