using System.Numerics;
using System.Runtime.InteropServices;

namespace Espalier.Tensors.Memory;

/// <summary>
/// Keeps freed blocks of native memory for the next tensor of about that size, so that a training step takes no memory
/// from the system once it is warm. Sizes are rounded up to a quarter of a power of two: at most a quarter is wasted. Where
/// sizes change in the course of a run, as those of pruned batches do, blocks of sizes that are no longer asked for go back
/// to the system: no more waits than was ever in use at once.
/// </summary>
public static unsafe class TensorPool
{
    private const long SmallestBlock = 64;

    private static readonly Dictionary<long, SizeClass> Classes = [];
    private static readonly Lock Gate = new();
    private static long bytesInUse, bytesHeld, peakInUse, rents;

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
            if (!Classes.TryGetValue(capacity, out SizeClass? blocks)) Classes[capacity] = blocks = new SizeClass(bytes);
            blocks.LastRent = ++rents;
            if (!blocks.Waiting.TryPop(out nint block))
            {
                // Beyond twice the peak more than the peak is waiting: part of it for sizes of the past.
                GiveBack(bytesHeld + bytes - 2 * Math.Max(peakInUse, bytesInUse + bytes));
                block = Allocate(bytes);
                bytesHeld += bytes;
            }
            bytesInUse += bytes;
            peakInUse = Math.Max(peakInUse, bytesInUse);
            return (float*)block;
        }
    }

    internal static void Return(float* block, long capacity)
    {
        lock (Gate)
        {
            SizeClass blocks = Classes[capacity];
            bytesInUse -= blocks.BlockBytes;
            blocks.Waiting.Push((nint)block);
        }
    }

    /// <summary>Gives every waiting block back to the system.</summary>
    public static void Trim()
    {
        lock (Gate) GiveBack(long.MaxValue);
    }

    private static nint Allocate(long bytes)
    {
        try
        {
            return (nint)NativeBlock.Allocate((nuint)bytes);
        }
        catch (OutOfMemoryException)
        {
            GiveBack(long.MaxValue);
            return (nint)NativeBlock.Allocate((nuint)bytes);
        }
    }

    /// <summary>Frees waiting blocks of at least so many bytes, where there are as many, those first whose size was not asked
    /// for the longest.</summary>
    private static void GiveBack(long bytes)
    {
        if (bytes <= 0) return;
        foreach (SizeClass blocks in Classes.Values.OrderBy(c => c.LastRent).ToArray())
        {
            while (bytes > 0 && blocks.Waiting.TryPop(out nint block))
            {
                NativeMemory.AlignedFree((void*)block);
                bytesHeld -= blocks.BlockBytes;
                bytes -= blocks.BlockBytes;
            }
        }
    }

    private static long RoundUp(long floats)
    {
        if (floats <= SmallestBlock) return SmallestBlock;
        long quarter = 1L << Math.Max(0, BitOperations.Log2((ulong)(floats - 1)) - 2);
        return (floats + quarter - 1) / quarter * quarter;
    }

    /// <summary>The blocks of one size.</summary>
    private sealed class SizeClass(long blockBytes)
    {
        public long BlockBytes { get; } = blockBytes;

        public Stack<nint> Waiting { get; } = new();

        /// <summary>The number of the last call that asked for this size.</summary>
        public long LastRent { get; set; }
    }
}
