using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Espalier.Tensors.Kernels;

/// <summary>What is done to a product while it is still in the cache: C = gelu(A B + bias) + residual, each part only where
/// asked for.</summary>
internal unsafe struct Epilogue
{
    /// <summary>[n], added to every row; null for none.</summary>
    public float* Bias;

    /// <summary>Whether the exact GELU, x (1 + erf(x/√2)) / 2, is applied after the bias.</summary>
    public bool Gelu;

    /// <summary>[m, n] with C's row distance: where the values before GELU go, for the backward pass; null for nowhere.</summary>
    public float* PreActivation;

    /// <summary>[m, n], added last; null for none. It may be C itself, unless there is GELU.</summary>
    public float* Residual;

    /// <summary>Distance between the rows of <see cref="Residual"/>.</summary>
    public int LdResidual;

    /// <summary>Whether the product is added to what C holds. Not together with GELU.</summary>
    public bool Accumulate;

    /// <summary>Applies the parts that the tiles have not: to <paramref name="rows"/> by <paramref name="columns"/> values of C
    /// that begin at row <paramref name="i"/> and column <paramref name="j"/>.</summary>
    public readonly void Apply(float* c, int ldc, int i, int j, int rows, int columns)
    {
        for (int row = i; row < i + rows; row++)
        {
            nint offset = ((nint)row * ldc) + j;
            if (Bias != null)
            {
                Add(Bias + j, c + offset, columns);
            }

            if (Gelu)
            {
                GeluRow(c + offset, PreActivation == null ? null : PreActivation + offset, columns);
            }

            if (Residual != null)
            {
                Add(Residual + ((nint)row * LdResidual) + j, c + offset, columns);
            }
        }
    }

    /// <summary>Whether <see cref="Apply"/> would do anything.</summary>
    public readonly bool IsEmpty => Bias == null && !Gelu && Residual == null;

    /// <summary>c += x over <paramref name="count"/> values.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Add(float* x, float* c, nint count)
    {
        nint j = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            for (; j <= count - 16; j += 16)
            {
                (Vector512.Load(c + j) + Vector512.Load(x + j)).Store(c + j);
            }
        }

        if (Vector128.IsHardwareAccelerated)
        {
            for (; j <= count - 4; j += 4)
            {
                (Vector128.Load(c + j) + Vector128.Load(x + j)).Store(c + j);
            }
        }

        for (; j < count; j++)
        {
            c[j] += x[j];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void GeluRow(float* c, float* preActivation, int count)
    {
        if (preActivation != null)
        {
            new ReadOnlySpan<float>(c, count).CopyTo(new Span<float>(preActivation, count));
        }

        int j = 0;
        if (Vector512.IsHardwareAccelerated)
        {
            for (; j <= count - 16; j += 16)
            {
                Vector512<float> x = Vector512.Load(c + j);
                Vector512<float> half = x * 0.5f;
                Vector512.MultiplyAddEstimate(half, Erf.Run(x * InverseRoot2), half).Store(c + j);
            }
        }

        if (Vector256.IsHardwareAccelerated)
        {
            for (; j <= count - 8; j += 8)
            {
                Vector256<float> x = Vector256.Load(c + j);
                Vector256<float> half = x * 0.5f;
                Vector256.MultiplyAddEstimate(half, Erf.Run(x * InverseRoot2), half).Store(c + j);
            }
        }

        if (Vector128.IsHardwareAccelerated)
        {
            for (; j <= count - 4; j += 4)
            {
                Vector128<float> x = Vector128.Load(c + j);
                Vector128<float> half = x * 0.5f;
                Vector128.MultiplyAddEstimate(half, Erf.Run(x * InverseRoot2), half).Store(c + j);
            }
        }

        for (; j < count; j++)
        {
            float half = c[j] * 0.5f;
            c[j] = float.MultiplyAddEstimate(half, Erf.Run(c[j] * InverseRoot2), half);
        }
    }

    private const float InverseRoot2 = 0.70710678f;
}
