using System.Numerics;
using System.Runtime.InteropServices;

namespace Espalier.Formats;

/// <summary>Checks on shapes that come from files, and the copy of strided elements into row-major order.</summary>
internal static class ArrayShape
{
    public const int MaxRank = 32;

    /// <summary>The shape as ints and its number of elements, if an array of that shape can exist.</summary>
    /// <exception cref="InvalidDataException">Too many dimensions, a negative one, or too many elements.</exception>
    public static int[] Check(string name, IReadOnlyList<long> dims, out int count)
    {
        if (dims.Count > MaxRank)
            throw new InvalidDataException($"{ReadGuard.Quote(name)} has {dims.Count} dimensions; at most {MaxRank} are read");
        int[] shape = new int[dims.Count];
        long product = 1;
        for (int i = 0; i < shape.Length; i++)
        {
            if (dims[i] is < 0 or > int.MaxValue)
                throw new InvalidDataException($"{ReadGuard.Quote(name)} has the impossible dimension {dims[i]}");
            shape[i] = (int)dims[i];
            // Both factors are below 2^31, so this cannot overflow a long. An empty array's other extents are bounded, too: readers
            // multiply them.
            product *= Math.Max(1, shape[i]);
            if (product > Array.MaxLength)
                throw new InvalidDataException($"{ReadGuard.Quote(name)} has more elements than an array can hold");
        }
        count = shape.Contains(0) ? 0 : (int)product;
        return shape;
    }

    /// <summary>Elements of a shape that a caller made; the other dimensions of an empty one may be of any size.</summary>
    public static long Count(ReadOnlySpan<int> shape)
    {
        foreach (int dim in shape) ArgumentOutOfRangeException.ThrowIfNegative(dim, nameof(shape));
        if (shape.Contains(0)) return 0;
        long count = 1;
        foreach (int dim in shape) count = checked(count * dim);
        return count;
    }

    public static long[] RowMajorStrides(ReadOnlySpan<int> shape)
    {
        long[] strides = new long[shape.Length];
        long step = 1;
        for (int i = shape.Length - 1; i >= 0; i--)
        {
            strides[i] = step;
            step *= Math.Max(shape[i], 1);
        }
        return strides;
    }

    /// <summary>Fortran order: the first index varies fastest.</summary>
    public static long[] ColumnMajorStrides(ReadOnlySpan<int> shape)
    {
        long[] strides = new long[shape.Length];
        long step = 1;
        for (int i = 0; i < shape.Length; i++)
        {
            strides[i] = step;
            step *= Math.Max(shape[i], 1);
        }
        return strides;
    }

    /// <summary>Whether elements with these strides already lie in row-major order.</summary>
    public static bool IsRowMajor(ReadOnlySpan<int> shape, ReadOnlySpan<long> strides)
    {
        long[] wanted = RowMajorStrides(shape);
        for (int i = 0; i < shape.Length; i++)
            if (shape[i] > 1 && strides[i] != wanted[i]) return false;
        return true;
    }

    /// <summary>Elements from the first to the last that a strided, non-empty array touches.</summary>
    public static BigInteger Extent(ReadOnlySpan<int> shape, ReadOnlySpan<long> strides)
    {
        BigInteger extent = 1;
        for (int i = 0; i < shape.Length; i++) extent += (BigInteger)(shape[i] - 1) * strides[i];
        return extent;
    }

    /// <summary>Copies a strided array into row-major order; the caller has checked the extent.</summary>
    public static void Gather<T>(ReadOnlySpan<T> from, ReadOnlySpan<int> shape, ReadOnlySpan<long> strides, Span<T> to)
    {
        if (to.Length == 0) return;
        if (shape.Length == 0)
        {
            to[0] = from[0];
            return;
        }
        Span<int> index = stackalloc int[MaxRank];
        index.Clear();
        int last = shape.Length - 1, done = 0;
        long start = 0;
        while (true)
        {
            for (int i = 0; i < shape[last]; i++) to[done++] = from[(int)(start + i * strides[last])];
            int axis = last - 1;
            for (; axis >= 0; axis--)
            {
                start += strides[axis];
                if (++index[axis] < shape[axis]) break;
                start -= strides[axis] * shape[axis];
                index[axis] = 0;
            }
            if (axis < 0) return;
        }
    }

    /// <summary><see cref="Gather{T}"/> on undecoded elements of <paramref name="size"/> bytes (1, 2, 4 or 8).</summary>
    public static void GatherBytes(ReadOnlySpan<byte> from, int size, ReadOnlySpan<int> shape, ReadOnlySpan<long> strides,
        Span<byte> to)
    {
        switch (size)
        {
            case 1: Gather(from, shape, strides, to); break;
            case 2: Gather<ushort>(As<ushort>(from), shape, strides, MemoryMarshal.Cast<byte, ushort>(to)); break;
            case 4: Gather<uint>(As<uint>(from), shape, strides, MemoryMarshal.Cast<byte, uint>(to)); break;
            case 8: Gather<ulong>(As<ulong>(from), shape, strides, MemoryMarshal.Cast<byte, ulong>(to)); break;
            default: throw new ArgumentOutOfRangeException(nameof(size));
        }

        static ReadOnlySpan<T> As<T>(ReadOnlySpan<byte> bytes) where T : unmanaged => MemoryMarshal.Cast<byte, T>(bytes);
    }
}
