using System.Runtime.InteropServices;

namespace Espalier.Tensors.Tests.Kernels;

/// <summary>Native floats between two guards: a kernel that writes beside its buffer is found when this is disposed, and one
/// that reads beside it meets NaN.</summary>
internal sealed unsafe class GuardedFloats : IDisposable
{
    private const int Guard = 64;
    private const uint Mark = 0x7FC12345;
    private readonly float* block;

    public GuardedFloats(int length)
    {
        Length = length;
        block = (float*)NativeMemory.AlignedAlloc((nuint)(length + 2 * Guard) * sizeof(float), 64);
        new Span<uint>(block, length + 2 * Guard).Fill(Mark);
    }

    public GuardedFloats(ReadOnlySpan<float> values)
        : this(values.Length) => values.CopyTo(Span);

    public int Length { get; }

    public float* Pointer => block + Guard;

    public Span<float> Span => new(Pointer, Length);

    public float this[int i]
    {
        get => Span[i];
        set => Span[i] = value;
    }

    /// <summary>Uniform in [-range, range), the same for the same seed.</summary>
    public static GuardedFloats Random(int length, ulong seed, float range = 1f)
    {
        var rng = new Rng(seed);
        var x = new GuardedFloats(length);
        for (int i = 0; i < length; i++) x[i] = rng.NextFloat(-range, range);
        return x;
    }

    public void Dispose()
    {
        bool whole = !new ReadOnlySpan<uint>(block, Guard).ContainsAnyExcept(Mark)
            && !new ReadOnlySpan<uint>(block + Guard + Length, Guard).ContainsAnyExcept(Mark);
        NativeMemory.AlignedFree(block);
        Assert.True(whole, "a kernel wrote beside its buffer");
    }
}

/// <summary>Comparisons that name the place where two arrays part.</summary>
internal static class Near
{
    /// <summary>|actual - expected| at most tolerance * (1 + |expected|), for each element.</summary>
    public static void Equal(ReadOnlySpan<double> expected, ReadOnlySpan<float> actual, double tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            double error = Math.Abs(actual[i] - expected[i]);
            Assert.True(
                error <= tolerance * (1 + Math.Abs(expected[i])), $"element {i}: expected {expected[i]}, got {actual[i]}");
        }
    }
}
