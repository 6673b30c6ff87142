using System.Runtime.InteropServices;
using Espalier.Tensors.Memory;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Working memory of one thread for one kernel call at a time: native, aligned to a cache line, kept for the next call and
/// grown when needed, so that a warmed-up kernel allocates nothing. A kernel asks once and cuts the block itself.
/// </summary>
internal sealed unsafe class Scratch
{
    [ThreadStatic]
    private static Scratch? current;

    private float* block;
    private nint length;

    private Scratch()
    {
    }

    // The block dies with its thread: the thread's static then is garbage, and this runs.
    ~Scratch() => NativeMemory.AlignedFree(block);

    /// <summary>At least <paramref name="floats"/> floats with arbitrary contents, good until this thread's next call.</summary>
    public static float* Rent(nint floats)
    {
        Scratch s = current ??= new Scratch();
        if (floats > s.length)
        {
            NativeMemory.AlignedFree(s.block);
            s.block = null;
            s.length = 0;
            s.block = (float*)NativeBlock.Allocate(checked((nuint)floats * sizeof(float)));
            s.length = floats;
        }

        return s.block;
    }
}
