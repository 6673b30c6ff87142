namespace Espalier.Tensors;

/// <summary>
/// The project's one source of random numbers: xoshiro256** seeded through SplitMix64. A value type of 32 bytes whose
/// state can be saved in a checkpoint and restored, so that a resumed run draws what the uninterrupted run would have.
/// </summary>
public struct Rng
{
    private ulong s0, s1, s2, s3;

    /// <summary>A generator for <paramref name="seed"/>; further keys give independent streams of the same seed.</summary>
    public Rng(ulong seed, ulong key0 = 0, ulong key1 = 0)
    {
        ulong x = seed;
        x = SplitMix(ref x) ^ (key0 * 0x9E3779B97F4A7C15UL);
        x = SplitMix(ref x) ^ (key1 * 0xD1B54A32D192ED03UL);
        s0 = SplitMix(ref x);
        s1 = SplitMix(ref x);
        s2 = SplitMix(ref x);
        s3 = SplitMix(ref x);
    }

    /// <summary>The four words of the state, for a checkpoint.</summary>
    public readonly ulong[] Save() => [s0, s1, s2, s3];

    /// <summary>The generator that <see cref="Save"/> was called on.</summary>
    public static Rng Restore(ReadOnlySpan<ulong> state)
    {
        if (state.Length != 4) throw new ArgumentException($"a random state has 4 words, not {state.Length}", nameof(state));
        return new Rng { s0 = state[0], s1 = state[1], s2 = state[2], s3 = state[3] };
    }

    public ulong NextULong()
    {
        ulong result = ulong.RotateLeft(s1 * 5, 7) * 9;
        ulong t = s1 << 17;
        s2 ^= s0;
        s3 ^= s1;
        s1 ^= s2;
        s0 ^= s3;
        s2 ^= t;
        s3 = ulong.RotateLeft(s3, 45);
        return result;
    }

    /// <summary>Uniform in [0, 1).</summary>
    public float NextFloat() => (NextULong() >> 40) * (1f / (1 << 24));

    /// <summary>Uniform in [0, 1), with 53 bits.</summary>
    public double NextDouble() => (NextULong() >> 11) * (1.0 / (1UL << 53));

    /// <summary>Uniform in [low, high).</summary>
    public float NextFloat(float low, float high) => low + (high - low) * NextFloat();

    /// <summary>Uniform in 0 .. <paramref name="bound"/> - 1, without bias.</summary>
    public int NextInt(int bound)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bound, 1);
        ulong range = (ulong)bound, limit = ulong.MaxValue - ulong.MaxValue % range, x;
        do x = NextULong(); while (x >= limit);
        return (int)(x % range);
    }

    /// <summary>Standard normal (Box-Muller, one value a call so that the state is the whole state).</summary>
    public float NextNormal()
    {
        double u = 1.0 - NextDouble(), v = NextDouble();
        return (float)(Math.Sqrt(-2.0 * Math.Log(u)) * Math.Cos(2.0 * Math.PI * v));
    }

    /// <summary>Fisher-Yates shuffle in place.</summary>
    public void Shuffle<T>(Span<T> items)
    {
        for (int i = items.Length - 1; i > 0; i--)
        {
            int j = NextInt(i + 1);
            (items[i], items[j]) = (items[j], items[i]);
        }
    }

    private static ulong SplitMix(ref ulong x)
    {
        ulong z = x += 0x9E3779B97F4A7C15UL;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9UL;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBUL;
        return z ^ (z >> 31);
    }
}
