namespace Espalier.Tensors.Kernels;

/// <summary>
/// The float instructions a kernel needs, for one vector width. A kernel is written once as a generic method over a
/// struct that implements this; the JIT specialises it for each width and inlines every call. <see cref="Scalar"/> is
/// the width of one: it does the tails, with the same roundings as the lanes of a vector, so that a result does not
/// depend on where in a row its element stands.
/// </summary>
/// <typeparam name="V">The vector: 16, 8, 4 or 1 floats.</typeparam>
internal unsafe interface ISimd<V> where V : struct
{
    /// <summary>Floats in a <typeparamref name="V"/>.</summary>
    static abstract int Width { get; }

    static abstract V Zero { get; }

    static abstract V Set(float x);

    /// <summary>The float at <paramref name="p"/> in every lane. Not the same code as <see cref="Set"/> of a value loaded before:
    /// that one takes a shuffle.</summary>
    static abstract V Broadcast(float* p);

    static abstract V Load(float* p);

    /// <summary>Integers, converted.</summary>
    static abstract V LoadInts(int* p);

    /// <summary>Bytes without sign, converted.</summary>
    static abstract V LoadBytes(byte* p);

    static abstract void Store(V x, float* p);

    /// <summary>Whole numbers, as int32.</summary>
    static abstract void StoreInts(V x, int* p);

    /// <summary>Whole numbers from 0 to 255, as bytes.</summary>
    static abstract void StoreBytes(V x, byte* p);

    /// <summary>The low 8 bits of each lane: of whole numbers that <see cref="CodeRange.Rounder"/> was added to, their bytes.</summary>
    static abstract void StoreLowBytes(V x, byte* p);

    static abstract V Add(V a, V b);

    static abstract V Sub(V a, V b);

    static abstract V Mul(V a, V b);

    static abstract V Div(V a, V b);

    /// <summary>a * b + c with one rounding where the processor fuses them, with two where it does not.</summary>
    static abstract V Fma(V a, V b, V c);

    /// <summary>a * b + c with one rounding on every processor; slow where it does not fuse them.</summary>
    static abstract V Fused(V a, V b, V c);

    /// <summary>The larger one; <paramref name="b"/> where either is NaN on x86, NaN on Arm.</summary>
    static abstract V Max(V a, V b);

    /// <summary>The smaller one; <paramref name="b"/> where either is NaN on x86, NaN on Arm.</summary>
    static abstract V Min(V a, V b);

    /// <summary>The larger one; NaN where either is NaN. It takes more instructions than <see cref="Max"/>.</summary>
    static abstract V MaxOrNaN(V a, V b);

    /// <summary>Per lane: a &lt; b ? whenLess : otherwise. False for NaN.</summary>
    static abstract V SelectLess(V a, V b, V whenLess, V otherwise);

    /// <summary>
    /// x * 2^n, where <paramref name="shifted"/> is n + 1.5 * 2^23, so that n stands in its low bits. The product must
    /// be a normal number.
    /// </summary>
    static abstract V ScaleByPower(V x, V shifted);

    /// <summary>The largest power of two that is not above x, a normal number above 0; 0 for 0.</summary>
    static abstract V PowerBelow(V x);

    /// <summary>-|x|.</summary>
    static abstract V MinusAbs(V x);

    static abstract float Sum(V x);

    /// <summary>The largest lane.</summary>
    static abstract float MaxLane(V x);
}
