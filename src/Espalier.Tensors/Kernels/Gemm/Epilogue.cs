using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace Espalier.Tensors.Kernels;

/// <summary>What is done to a product while it is still in the cache: C = gelu(A B + bias) + residual, each part only where
/// asked for.</summary>
internal unsafe struct Epilogue
{
    /// <summary>[n], added to every row; null for none.</summary>
    public float* Bias;

    /// <summary>Whether GELU by the normal distribution, x Phi(x), is applied after the bias.</summary>
    public bool Gelu;

    /// <summary>Where <see cref="Gelu"/> is set: 0 for the exact one, else a of x / (1 + e^(-a x)) in its place.</summary>
    public float Quick;

    /// <summary>[m, n] with C's row distance: where the values before GELU go, for the backward pass; null for nowhere.</summary>
    public float* PreActivation;

    /// <summary>[m, n], added last; null for none. It may be C itself, unless there is GELU.</summary>
    public float* Residual;

    /// <summary>Distance between the rows of <see cref="Residual"/>.</summary>
    public int LdResidual;

    /// <summary>Whether the product is added to what C holds. Not together with GELU.</summary>
    public bool Accumulate;

    /// <summary>Whether <see cref="Apply"/> would do anything.</summary>
    public readonly bool IsEmpty => Bias == null && !Gelu && Residual == null;

    /// <summary>Applies the parts that the tiles have not: to <paramref name="rows"/> by <paramref name="columns"/> values of C
    /// that begin at row <paramref name="i"/> and column <paramref name="j"/>.</summary>
    public readonly void Apply(float* c, int ldc, int i, int j, int rows, int columns)
    {
        if (Hardware.Has512)
        {
            Apply<Simd512, Vector512<float>>(c, ldc, i, j, rows, columns);
        }
        else if (Hardware.Has256)
        {
            Apply<Simd256, Vector256<float>>(c, ldc, i, j, rows, columns);
        }
        else
        {
            Apply<Simd128, Vector128<float>>(c, ldc, i, j, rows, columns);
        }
    }

    /// <summary>c += x over <paramref name="count"/> values.</summary>
    public static void Add(float* x, float* c, int count) =>
        TensorPrimitives.Add(new ReadOnlySpan<float>(c, count), new ReadOnlySpan<float>(x, count), new Span<float>(c, count));

    private readonly void Apply<S, V>(float* c, int ldc, int i, int j, int rows, int columns)
        where S : ISimd<V> where V : struct
    {
        nint offset = ((nint)i * ldc) + j;
        if (Bias != null)
        {
            AddTile<S, V>(Bias + j, 0, c + offset, ldc, rows, columns);
        }

        if (Gelu)
        {
            GeluTile<S, V>(c + offset, PreActivation == null ? null : PreActivation + offset, ldc, rows, columns, Quick);
        }

        if (Residual != null)
        {
            AddTile<S, V>(Residual + ((nint)i * LdResidual) + j, LdResidual, c + offset, ldc, rows, columns);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void AddTile<S, V>(float* x, int ldx, float* c, int ldc, int rows, int columns)
        where S : ISimd<V> where V : struct
    {
        for (; rows > 0; rows--)
        {
            int j = 0;
            for (; j <= columns - S.Width; j += S.Width)
            {
                S.Store(S.Add(S.Load(c + j), S.Load(x + j)), c + j);
            }

            for (; j < columns; j++)
            {
                c[j] += x[j];
            }

            x += ldx;
            c += ldc;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void GeluTile<S, V>(float* c, float* before, int ldc, int rows, int columns, float quick)
        where S : ISimd<V> where V : struct
    {
        for (; rows > 0; rows--)
        {
            if (before != null)
            {
                new ReadOnlySpan<float>(c, columns).CopyTo(new Span<float>(before, columns));
                before += ldc;
            }

            int j = 0;
            for (; j <= columns - S.Width; j += S.Width)
            {
                S.Store(Normal.Gelu<S, V>(S.Load(c + j), quick), c + j);
            }

            for (; j < columns; j++)
            {
                c[j] = Normal.Gelu<Scalar, float>(c[j], quick);
            }

            c += ldc;
        }
    }
}
