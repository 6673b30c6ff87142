using System.Runtime.InteropServices;
using Espalier.Tensors.Memory;

namespace Espalier.Tensors.Kernels;

/// <summary>Floats outside the managed heap, aligned to a cache line and zero at first; the owner disposes them.</summary>
internal sealed unsafe class NativeFloats : IDisposable
{
    private readonly long pooled;
    private float* data;

    /// <param name="cleared">Whether they are zero at first: not where all of them are written anyway.</param>
    /// <param name="pooled">Whether they come from the tensors' pool and go back there: for what each training step needs again.
    /// </param>
    public NativeFloats(nint length, bool cleared = true, bool pooled = false)
    {
        Length = length;
        nuint bytes = checked((nuint)Math.Max(1, length) * sizeof(float));
        data = pooled ? TensorPool.Rent(Math.Max(1, length), out this.pooled) : (float*)NativeBlock.Allocate(bytes);
        if (cleared) NativeMemory.Clear(data, bytes);
    }

    ~NativeFloats() => Free();

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
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        if (pooled == 0) NativeMemory.AlignedFree(data);
        else if (data != null) TensorPool.Return(data, pooled);
        data = null;
    }
}
