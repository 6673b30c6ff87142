using System.Numerics;
using System.Runtime.InteropServices;

namespace Espalier.Tensors.Memory;

/// <summary>
/// Keeps freed blocks of native memory for the next tensor of about that size, so that a training step takes no memory
/// from the system once it is warm. Sizes are rounded up to a quarter of a power of two: at most a quarter is wasted.
/// </summary>
public static unsafe class TensorPool
{
    private const long SmallestBlock = 64;
    private const nuint Alignment = 64;

    private static readonly Dictionary<long, Stack<nint>> Free = [];
    private static readonly Lock Gate = new();
    private static long bytesInUse, bytesHeld, peakInUse;

    /// <summary>Bytes in live tensors.</summary>
    public static long BytesInUse => Interlocked.Read(ref bytesInUse);

    /// <summary>Bytes taken from the system and not yet given back: in use or waiting for reuse.</summary>
    public static long BytesHeld => Interlocked.Read(ref bytesHeld);

    /// <summary>The most bytes that were in live tensors at once since <see cref="ResetPeak"/>.</summary>
    public static long PeakBytesInUse => Interlocked.Read(ref peakInUse);

    public static void ResetPeak() => Interlocked.Exchange(ref peakInUse, BytesInUse);

    internal static float* Rent(long floats, out long capacity)
    {
        capacity = RoundUp(floats);
        long bytes = checked(capacity * sizeof(float));
        lock (Gate)
        {
            bytesInUse += bytes;
            peakInUse = Math.Max(peakInUse, bytesInUse);
            if (Free.TryGetValue(capacity, out var blocks) && blocks.TryPop(out nint block)) return (float*)block;
            bytesHeld += bytes;
        }
        return (float*)NativeMemory.AlignedAlloc((nuint)bytes, Alignment);
    }

    internal static void Return(float* block, long capacity)
    {
        lock (Gate)
        {
            bytesInUse -= capacity * sizeof(float);
            if (!Free.TryGetValue(capacity, out var blocks)) Free[capacity] = blocks = new Stack<nint>();
            blocks.Push((nint)block);
        }
    }

    /// <summary>Gives every waiting block back to the system.</summary>
    public static void Trim()
    {
        lock (Gate)
        {
            foreach (var (capacity, blocks) in Free)
            {
                while (blocks.TryPop(out nint block))
                {
                    NativeMemory.AlignedFree((void*)block);
                    bytesHeld -= capacity * sizeof(float);
                }
            }
        }
    }

    private static long RoundUp(long floats)
    {
        if (floats <= SmallestBlock) return SmallestBlock;
        long quarter = 1L << Math.Max(0, BitOperations.Log2((ulong)(floats - 1)) - 2);
        return (floats + quarter - 1) / quarter * quarter;
    }
}
