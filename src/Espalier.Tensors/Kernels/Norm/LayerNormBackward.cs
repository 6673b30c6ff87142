using System.Runtime.CompilerServices;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Operands of a backward pass; shapes at <see cref="LayerNorm.Backward"/>.</summary>
internal unsafe struct LayerNormGradients
{
    public float* X, Gamma, Mean, Rstd, DY, DX;

    /// <summary>[parts, 2, columns]: each part's own sums for gamma and beta; null where they are not wanted.</summary>
    public float* Parts;

    public int Columns, Width;
    public bool Accumulate;
}

/// <summary>Two passes over a cached row: sums and parameter gradients, then dx.</summary>
internal readonly unsafe struct LayerNormBackward<S, V>(LayerNormGradients o) : IRangeJob
    where S : ISimd<V> where V : struct
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    public void Run(int start, int end, int worker)
    {
        float* part = null;
        if (o.Parts != null)
        {
            part = o.Parts + 2 * (nint)worker * o.Columns;
            new Span<float>(part, 2 * o.Columns).Clear();
        }

        for (int r = start; r < end; r++)
        {
            float* x = o.X + (nint)r * o.Columns, dy = o.DY + (nint)r * o.Columns;
            if (part != null) Parameters(x, dy, o.Mean[r], o.Rstd[r], part, part + o.Columns);
            if (o.DX != null) Input(x, dy, o.Mean[r], o.Rstd[r], o.DX + (nint)r * o.Columns);
        }
    }

    private void Parameters(float* x, float* dy, float mean, float rstd, float* dgamma, float* dbeta)
    {
        V m = S.Set(mean), s = S.Set(rstd);
        int i = 0;
        for (; i <= o.Columns - S.Width; i += S.Width)
        {
            V g = S.Load(dy + i), n = S.Mul(S.Sub(S.Load(x + i), m), s);
            S.Store(S.Fma(g, n, S.Load(dgamma + i)), dgamma + i);
            S.Store(S.Add(g, S.Load(dbeta + i)), dbeta + i);
        }

        for (; i < o.Columns; i++)
        {
            dgamma[i] = Scalar.Fma(dy[i], (x[i] - mean) * rstd, dgamma[i]);
            dbeta[i] += dy[i];
        }
    }

    private void Input(float* x, float* dy, float mean, float rstd, float* dx)
    {
        V m = S.Set(mean), s = S.Set(rstd), sum = S.Zero, dot = S.Zero;
        int i = 0;
        for (; i <= o.Columns - S.Width; i += S.Width)
        {
            V g = S.Mul(S.Load(dy + i), S.Load(o.Gamma + i));
            sum = S.Add(sum, g);
            dot = S.Fma(g, S.Mul(S.Sub(S.Load(x + i), m), s), dot);
        }

        float sumTail = 0f, dotTail = 0f;
        for (; i < o.Columns; i++)
        {
            float g = dy[i] * o.Gamma[i];
            sumTail += g;
            dotTail = Scalar.Fma(g, (x[i] - mean) * rstd, dotTail);
        }

        float meanG = (S.Sum(sum) + sumTail) / o.Width, meanGN = (S.Sum(dot) + dotTail) / o.Width;
        for (i = 0; i <= o.Columns - S.Width; i += S.Width)
        {
            Store<S, V>(x + i, dy + i, o.Gamma + i, mean, rstd, meanG, meanGN, dx + i);
        }

        for (; i < o.Columns; i++) Store<Scalar, float>(x + i, dy + i, o.Gamma + i, mean, rstd, meanG, meanGN, dx + i);
    }

    // dx (+)= rstd (dy gamma - mean(g) - n mean(g n)), one vector of it.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Store<T, U>(
        float* x, float* dy, float* gamma, float mean, float rstd, float meanG, float meanGN, float* dx)
        where T : ISimd<U> where U : struct
    {
        U n = T.Mul(T.Sub(T.Load(x), T.Set(mean)), T.Set(rstd));
        U g = T.Sub(T.Mul(T.Load(dy), T.Load(gamma)), T.Set(meanG));
        g = T.Mul(T.Set(rstd), T.Sub(g, T.Mul(n, T.Set(meanGN))));
        T.Store(o.Accumulate ? T.Add(T.Load(dx), g) : g, dx);
    }
}
