using Espalier.Formats.Onnx;

namespace Espalier.Onnx;

/// <summary>A constant while a file is read: shapes, lists, masks. Numbers are held as doubles, whatever their type.</summary>
internal sealed record OnnxArray(OnnxType Type, int[] Dims, double[] Values)
{
    /// <summary>What is folded may have as many numbers; larger constants stay as they are in the file.</summary>
    public const int Most = 1 << 24;

    /// <summary>Axes that a constant may have; a graph's values have fewer.</summary>
    public const int MostAxes = 16;

    public bool IsWhole => !Type.IsFloat();

    public static OnnxArray Whole(params long[] list) => new(OnnxType.Int64, [list.Length], [.. list.Select(n => (double)n)]);

    /// <summary>As a list of whole numbers, those beyond 2^62 being cut to that.</summary>
    public long[] Longs() => Array.ConvertAll(Values, v => double.IsNaN(v) ? 0 : (long)Math.Clamp(v, -(1L << 62), 1L << 62));

    public int[] Ints() => Array.ConvertAll(Longs(), n => n is >= int.MinValue and <= int.MaxValue ? (int)n
        : throw new InvalidDataException($"{n} is too large a number"));

    public bool SameAs(OnnxArray other) => other == this
        || (Dims.AsSpan().SequenceEqual(other.Dims) && Values.AsSpan().SequenceEqual(other.Values));

    /// <summary>Numbers of a shape, which are few enough.</summary>
    public static int Count(ReadOnlySpan<int> dims)
    {
        RequireAxes(dims.Length);
        long count = 1;
        foreach (int n in dims)
        {
            if (n < 0) throw new InvalidDataException($"an axis has {n} entries");
            count = n == 0 ? 0 : count > Most / n ? throw new InvalidDataException(
                $"a constant [{string.Join(",", dims.ToArray())}] is too large to be computed") : count * n;
        }
        return (int)count;
    }

    /// <exception cref="InvalidDataException">There are more than a value can have.</exception>
    public static void RequireAxes(int axes)
    {
        if (axes > MostAxes) throw new InvalidDataException($"it names {axes} axes; values have {MostAxes} at most");
    }

    /// <summary>How far apart neighbours along each axis are.</summary>
    public static int[] Strides(ReadOnlySpan<int> dims)
    {
        var strides = new int[dims.Length];
        int stride = 1;
        for (int i = dims.Length - 1; i >= 0; i--)
        {
            strides[i] = stride;
            stride *= Math.Max(1, dims[i]);
        }
        return strides;
    }

    /// <summary>An axis that may be counted from the end.</summary>
    public static int Axis(long axis, int rank) => axis >= -rank && axis < rank ? (int)(axis < 0 ? axis + rank : axis)
        : throw new InvalidDataException($"axis {axis} of a value with {rank} axes");

    /// <summary>Under another shape of as many numbers.</summary>
    public OnnxArray Shaped(int[] dims) => Count(dims) == Values.Length ? this with { Dims = dims }
        : throw new InvalidDataException($"[{string.Join(",", Dims)}] does not fit [{string.Join(",", dims)}]");

    /// <summary>Entries of each axis by a list, -1 being <paramref name="fill"/>.</summary>
    public OnnxArray Take(IReadOnlyList<int[]> lists, double fill = 0)
    {
        int[] dims = [.. lists.Select(l => l.Length)];
        int[] places = Places(Dims, lists);
        return new OnnxArray(Type, dims, Array.ConvertAll(places, p => p < 0 ? fill : Values[p]));
    }

    /// <summary>For each entry of what <see cref="Take"/> gives, where it is; -1 for none.</summary>
    public static int[] Places(int[] dims, IReadOnlyList<int[]> lists)
    {
        var places = new int[Count([.. lists.Select(l => l.Length)])];
        int[] strides = Strides(dims);
        int block = places.Length;
        for (int axis = 0, times = 1; axis < dims.Length && places.Length > 0; axis++)
        {
            int[] list = lists[axis];
            block /= list.Length;
            for (int t = 0, at = 0; t < times; t++)
                foreach (int entry in list)
                    for (int i = 0; i < block; i++, at++)
                        places[at] = places[at] < 0 || entry < 0 ? -1 : places[at] + entry * strides[axis];
            times *= list.Length;
        }
        return places;
    }

    /// <summary>y's axis i is the axis order[i].</summary>
    public OnnxArray Transposed(int[] order)
    {
        int[] strides = Strides(Dims), dims = [.. order.Select(a => Dims[a])];
        var values = new double[Values.Length];
        var at = new int[dims.Length];
        for (int i = 0; i < values.Length; i++)
        {
            int from = 0;
            for (int a = 0; a < at.Length; a++) from += at[a] * strides[order[a]];
            values[i] = Values[from];
            for (int a = at.Length - 1; a >= 0 && ++at[a] == dims[a]; a--) at[a] = 0;
        }
        return new OnnxArray(Type, dims, values);
    }

    /// <summary>The joint shape under NumPy's broadcasting rules.</summary>
    public static int[] Joint(params ReadOnlySpan<int[]> shapes)
    {
        int rank = 0;
        foreach (int[] shape in shapes) rank = Math.Max(rank, shape.Length);
        RequireAxes(rank);
        var dims = new int[rank];
        Array.Fill(dims, 1);
        foreach (int[] shape in shapes)
        {
            for (int i = 1; i <= shape.Length; i++)
            {
                if (shape[^i] == 1) continue;
                if (dims[^i] != 1 && dims[^i] != shape[^i])
                    throw new InvalidDataException(
                        $"[{string.Join(",", shape)}] does not broadcast to [{string.Join(",", dims)}]");
                dims[^i] = shape[^i];
            }
        }
        return dims;
    }

    /// <summary>Repeated to a shape that it broadcasts to.</summary>
    public OnnxArray Expanded(int[] dims)
    {
        if (Dims.AsSpan().SequenceEqual(dims)) return this;
        int[] own = [.. Enumerable.Repeat(1, Math.Max(0, dims.Length - Dims.Length)), .. Dims];
        _ = Joint(own, dims);
        return Shaped(own).Take([.. own.Select((n, i) => n == dims[i]
            ? Enumerable.Range(0, n).ToArray() : new int[dims[i]])]);
    }
}
