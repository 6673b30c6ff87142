using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>Some vectors beside each other in one row of a tile. A struct of vectors stays in registers.</summary>
internal unsafe interface IStrip<TStrip> where TStrip : struct
{
    static abstract int Vectors { get; }

    /// <summary>Loads the vectors at p, p + stride, ...</summary>
    static abstract TStrip Load(float* p, nint stride);

    static abstract void Store(TStrip x, float* p);

    /// <summary>x plus the contiguous vectors at p.</summary>
    static abstract TStrip Add(TStrip x, float* p);

    /// <summary>accumulator + *a * b.</summary>
    static abstract TStrip Fma(float* a, TStrip b, TStrip accumulator);
}

/// <summary>One vector.</summary>
internal unsafe struct Strip1<S, V> : IStrip<Strip1<S, V>> where S : ISimd<V> where V : struct
{
    private V v0;

    public static int Vectors => 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Strip1<S, V> Load(float* p, nint stride)
    {
        Strip1<S, V> x;
        x.v0 = S.Load(p);
        return x;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Strip1<S, V> x, float* p) => S.Store(x.v0, p);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Strip1<S, V> Add(Strip1<S, V> x, float* p)
    {
        x.v0 = S.Add(x.v0, S.Load(p));
        return x;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Strip1<S, V> Fma(float* a, Strip1<S, V> b, Strip1<S, V> accumulator)
    {
        accumulator.v0 = S.Fma(S.Broadcast(a), b.v0, accumulator.v0);
        return accumulator;
    }
}

/// <summary>Two vectors.</summary>
internal unsafe struct Strip2<S, V> : IStrip<Strip2<S, V>> where S : ISimd<V> where V : struct
{
    private V v0, v1;

    public static int Vectors => 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Strip2<S, V> Load(float* p, nint stride)
    {
        Strip2<S, V> x;
        x.v0 = S.Load(p);
        x.v1 = S.Load(p + stride);
        return x;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Strip2<S, V> x, float* p)
    {
        S.Store(x.v0, p);
        S.Store(x.v1, p + S.Width);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Strip2<S, V> Add(Strip2<S, V> x, float* p)
    {
        x.v0 = S.Add(x.v0, S.Load(p));
        x.v1 = S.Add(x.v1, S.Load(p + S.Width));
        return x;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Strip2<S, V> Fma(float* a, Strip2<S, V> b, Strip2<S, V> accumulator)
    {
        V broadcast = S.Broadcast(a);
        accumulator.v0 = S.Fma(broadcast, b.v0, accumulator.v0);
        accumulator.v1 = S.Fma(broadcast, b.v1, accumulator.v1);
        return accumulator;
    }
}

/// <summary>Three vectors.</summary>
internal unsafe struct Strip3<S, V> : IStrip<Strip3<S, V>> where S : ISimd<V> where V : struct
{
    private V v0, v1, v2;

    public static int Vectors => 3;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Strip3<S, V> Load(float* p, nint stride)
    {
        Strip3<S, V> x;
        x.v0 = S.Load(p);
        x.v1 = S.Load(p + stride);
        x.v2 = S.Load(p + 2 * stride);
        return x;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(Strip3<S, V> x, float* p)
    {
        S.Store(x.v0, p);
        S.Store(x.v1, p + S.Width);
        S.Store(x.v2, p + 2 * S.Width);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Strip3<S, V> Add(Strip3<S, V> x, float* p)
    {
        x.v0 = S.Add(x.v0, S.Load(p));
        x.v1 = S.Add(x.v1, S.Load(p + S.Width));
        x.v2 = S.Add(x.v2, S.Load(p + 2 * S.Width));
        return x;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Strip3<S, V> Fma(float* a, Strip3<S, V> b, Strip3<S, V> accumulator)
    {
        V broadcast = S.Broadcast(a);
        accumulator.v0 = S.Fma(broadcast, b.v0, accumulator.v0);
        accumulator.v1 = S.Fma(broadcast, b.v1, accumulator.v1);
        accumulator.v2 = S.Fma(broadcast, b.v2, accumulator.v2);
        return accumulator;
    }
}
