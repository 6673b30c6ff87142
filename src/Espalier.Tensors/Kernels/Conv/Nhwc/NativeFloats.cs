using System.Runtime.InteropServices;
using Espalier.Tensors.Memory;

namespace Espalier.Tensors.Kernels;

/// <summary>Floats outside the managed heap, aligned to a cache line and zero at first; the owner disposes them.</summary>
internal sealed unsafe class NativeFloats : IDisposable
{
    private float* data;

    /// <param name="cleared">Whether they are zero at first: not where all of them are written anyway.</param>
    public NativeFloats(nint length, bool cleared = true)
    {
        Length = length;
        nuint bytes = checked((nuint)Math.Max(1, length) * sizeof(float));
        data = (float*)NativeBlock.Allocate(bytes);
        if (cleared) NativeMemory.Clear(data, bytes);
    }

    ~NativeFloats() => NativeMemory.AlignedFree(data);

    public nint Length { get; }

    /// <exception cref="ObjectDisposedException">They have been disposed.</exception>
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
        NativeMemory.AlignedFree(data);
        data = null;
        GC.SuppressFinalize(this);
    }
}
