namespace Espalier.Tensors.Memory;

/// <summary>
/// One block of 64-byte aligned native memory from the <see cref="TensorPool"/>, shared by the tensors that view it and
/// handed back when the last of them is disposed. The finaliser is only the safety net for a forgotten tensor.
/// </summary>
internal sealed unsafe class Storage
{
    private int owners = 1;

    public Storage(long floats)
    {
        Pointer = TensorPool.Rent(floats, out long capacity);
        Capacity = capacity;
    }

    ~Storage() => Free();

    public float* Pointer { get; private set; }

    public long Capacity { get; }

    public void AddOwner() => Interlocked.Increment(ref owners);

    public void Release()
    {
        if (Interlocked.Decrement(ref owners) != 0) return;
        GC.SuppressFinalize(this);
        Free();
    }

    private void Free()
    {
        if (Pointer == null) return;
        TensorPool.Return(Pointer, Capacity);
        Pointer = null;
    }
}
