using System.Runtime.InteropServices;

namespace Espalier.Tensors.Kernels;

/// <summary>Aligned native memory that grows and is kept: one buffer a use and a thread, freed by the finalizer once its thread
/// has gone.</summary>
internal sealed unsafe class Scratch
{
    [ThreadStatic]
    private static Scratch? panelsA;

    [ThreadStatic]
    private static Scratch? panelsB;

    [ThreadStatic]
    private static Scratch? partialSums;

    [ThreadStatic]
    private static Scratch? edgeTile;

    private float* data;
    private nint length;

    ~Scratch() => NativeMemory.AlignedFree(data);

    /// <summary>This thread's packed part of A.</summary>
    public static Scratch PanelsA => panelsA ??= new Scratch();

    /// <summary>This thread's packed part of B.</summary>
    public static Scratch PanelsB => panelsB ??= new Scratch();

    /// <summary>Private sums of all the threads of a product that this thread called and that splits K.</summary>
    public static Scratch PartialSums => partialSums ??= new Scratch();

    /// <summary>A tile that stands in for one which hangs over C's edge, and after it a row of zeros.</summary>
    public static Scratch EdgeTile => edgeTile ??= new Scratch();

    /// <summary>At least <paramref name="count"/> values, aligned to 64 bytes. What they hold is unknown; new ones are zero.
    /// </summary>
    public float* Get(nint count)
    {
        if (count > length)
        {
            float* larger = (float*)NativeMemory.AlignedAlloc(checked((nuint)count * sizeof(float)), 64);
            NativeMemory.Clear(larger, (nuint)count * sizeof(float));
            NativeMemory.AlignedFree(data);
            data = larger;
            length = count;
        }

        return data;
    }
}
