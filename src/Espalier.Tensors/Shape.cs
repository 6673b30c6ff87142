using System.Runtime.CompilerServices;

namespace Espalier.Tensors;

/// <summary>The extents of a row-major tensor, at most <see cref="MaxRank"/> of them; held in place, nothing allocated.</summary>
public readonly struct Shape : IEquatable<Shape>
{
    public const int MaxRank = 6;

    private readonly Extents extents;
    private readonly long length;

    public Shape(params ReadOnlySpan<int> dims)
    {
        if (dims.Length > MaxRank) throw new ArgumentException($"a shape has at most {MaxRank} dimensions, not {dims.Length}");
        length = 1;
        for (int i = 0; i < dims.Length; i++)
        {
            if (dims[i] < 0) throw new ArgumentException($"dimension {i} is negative: {dims[i]}");
            extents[i] = dims[i];
            length = checked(length * dims[i]);
        }
        Rank = dims.Length;
    }

    public int Rank { get; }

    /// <summary>The product of all dimensions; 1 for a scalar.</summary>
    // The default value, which no constructor has seen, is the scalar shape too.
    public long Length => Rank == 0 ? 1 : length;

    /// <summary>Dimension <paramref name="axis"/>; a negative axis counts from the end.</summary>
    public int this[int axis] => extents[Axis(axis)];

    /// <summary>A negative axis counts from the end.</summary>
    public int Axis(int axis)
    {
        int a = axis < 0 ? axis + Rank : axis;
        if ((uint)a >= (uint)Rank) throw new ArgumentOutOfRangeException(nameof(axis), $"axis {axis} of a shape of rank {Rank}");
        return a;
    }

    public int[] ToArray()
    {
        var dims = new int[Rank];
        for (int i = 0; i < dims.Length; i++) dims[i] = extents[i];
        return dims;
    }

    /// <summary>This shape with one dimension replaced.</summary>
    public Shape With(int axis, int dim)
    {
        int[] dims = ToArray();
        dims[Axis(axis)] = dim;
        return new Shape(dims);
    }

    public bool Equals(Shape other)
    {
        if (Rank != other.Rank) return false;
        for (int i = 0; i < Rank; i++) if (extents[i] != other.extents[i]) return false;
        return true;
    }

    public override bool Equals(object? obj) => obj is Shape other && Equals(other);

    public override int GetHashCode()
    {
        var hash = new HashCode();
        for (int i = 0; i < Rank; i++) hash.Add(extents[i]);
        return hash.ToHashCode();
    }

    public override string ToString() => $"[{string.Join(",", ToArray())}]";

    public static bool operator ==(Shape a, Shape b) => a.Equals(b);

    public static bool operator !=(Shape a, Shape b) => !a.Equals(b);

    [InlineArray(MaxRank)]
    private struct Extents
    {
        private int first;
    }
}
