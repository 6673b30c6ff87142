using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>The transforms of Winograd's minimal filtering F(4 x 4, 3 x 3) (Lavin and Gray, "Fast algorithms for convolutional
/// neural networks", arXiv:1509.09308, section 4.3; interpolation at 0, 1, -1, 2, -2 and infinity): a tile of 6 x 6 pixels and
/// the kernel become 36 values each, whose products become 4 x 4 outputs; 36 multiplications instead of 144.</summary>
internal static unsafe class Winograd
{
    /// <summary>Output pixels along a tile's side.</summary>
    public const int Out = 4;

    /// <summary>Input pixels along a tile's side.</summary>
    public const int In = 6;

    /// <summary>Values of a transformed tile.</summary>
    public const int Values = In * In;

    /// <summary>G g Gᵀ for each of a vector's outputs.</summary>
    /// <param name="kernel">9 vectors, <paramref name="tapStep"/> floats apart.</param>
    /// <param name="to">36 vectors, <paramref name="valueStep"/> floats apart.</param>
    /// <param name="half">Working memory of 18 vectors.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Kernel<S, V>(float* kernel, nint tapStep, float* to, nint valueStep, float* half)
        where S : ISimd<V> where V : struct
    {
        nint width = S.Width;
        for (int j = 0; j < 3; j++)
        {
            float* g = kernel + (j * tapStep);
            Kernel<S, V>(S.Load(g), S.Load(g + (3 * tapStep)), S.Load(g + (6 * tapStep)), half + (j * width), 3 * width);
        }

        for (int i = 0; i < In; i++, half += 3 * width, to += In * valueStep)
            Kernel<S, V>(S.Load(half), S.Load(half + width), S.Load(half + (2 * width)), to, valueStep);
    }

    /// <summary>Bᵀ d B for channels <paramref name="first"/> to <paramref name="end"/> - 1, whole vectors of them.</summary>
    /// <param name="patch">Where the 6 x 6 pixels lie.</param>
    /// <param name="to">36 times [channels], <paramref name="valueStep"/> floats apart.</param>
    /// <param name="half">Working memory of 36 vectors.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Input<S, V>(WinogradPatch* patch, int first, int end, float* to, nint valueStep, float* half)
        where S : ISimd<V> where V : struct
    {
        int width = S.Width, row = In * width;
        for (nint c = first; c < end; c += width)
        {
            for (int j = 0; j < In; j++)
            {
                float* h = half + (j * width);
                if (j < patch->Left || j >= patch->Right)
                {
                    for (int i = 0; i < In; i++, h += row) S.Store(S.Zero, h);
                    continue;
                }

                V d0 = S.Load(patch->Row0 + (j * patch->Step0) + c), d1 = S.Load(patch->Row1 + (j * patch->Step1) + c);
                V d2 = S.Load(patch->Row2 + (j * patch->Step2) + c), d3 = S.Load(patch->Row3 + (j * patch->Step3) + c);
                V d4 = S.Load(patch->Row4 + (j * patch->Step4) + c), d5 = S.Load(patch->Row5 + (j * patch->Step5) + c);
                Input<S, V>(d0, d1, d2, d3, d4, d5, h, row);
            }

            float* t = to + c, line = half;
            for (int i = 0; i < In; i++, line += row, t += In * valueStep)
            {
                V d0 = S.Load(line), d1 = S.Load(line + width), d2 = S.Load(line + (2 * width));
                V d3 = S.Load(line + (3 * width)), d4 = S.Load(line + (4 * width)), d5 = S.Load(line + (5 * width));
                Input<S, V>(d0, d1, d2, d3, d4, d5, t, valueStep);
            }
        }
    }

    /// <summary>Aᵀ m A for each of a vector's outputs, with bias, residual and activation.</summary>
    /// <param name="values">36 vectors, <paramref name="valueStep"/> floats apart.</param>
    /// <param name="half">Working memory of 24 vectors.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Output<S, V>(
        float* values, nint valueStep, float* bias, in WinogradTarget target, nint output, Activation f, float* half)
        where S : ISimd<V> where V : struct
    {
        int width = S.Width, row = In * width;
        for (int j = 0; j < In; j++)
        {
            float* m = values + (j * valueStep), h = half + (j * width);
            nint down = In * valueStep;
            Output<S, V>(
                S.Load(m), S.Load(m + down), S.Load(m + (2 * down)), S.Load(m + (3 * down)), S.Load(m + (4 * down)),
                S.Load(m + (5 * down)), out V y0, out V y1, out V y2, out V y3);
            S.Store(y0, h);
            S.Store(y1, h + row);
            S.Store(y2, h + (2 * row));
            S.Store(y3, h + (3 * row));
        }

        V b = S.Load(bias);
        float* y = target.Y + output, residual = target.Residual == null ? null : target.Residual + output;
        for (int i = target.Rows; i > 0; i--, half += row)
        {
            Output<S, V>(
                S.Load(half), S.Load(half + width), S.Load(half + (2 * width)), S.Load(half + (3 * width)),
                S.Load(half + (4 * width)), S.Load(half + (5 * width)), out V y0, out V y1, out V y2, out V y3);
            y0 = S.Add(y0, b);
            y1 = S.Add(y1, b);
            y2 = S.Add(y2, b);
            y3 = S.Add(y3, b);
            if (residual != null)
            {
                y0 = S.Add(y0, S.Load(residual));
                if (target.Columns > 1) y1 = S.Add(y1, S.Load(residual + target.ResidualStep));
                if (target.Columns > 2) y2 = S.Add(y2, S.Load(residual + (2 * target.ResidualStep)));
                if (target.Columns > 3) y3 = S.Add(y3, S.Load(residual + (3 * target.ResidualStep)));
                residual += target.ResidualLine;
            }

            S.Store(Activations.Of<S, V>(f, y0), y);
            if (target.Columns > 1) S.Store(Activations.Of<S, V>(f, y1), y + target.Step);
            if (target.Columns > 2) S.Store(Activations.Of<S, V>(f, y2), y + (2 * target.Step));
            if (target.Columns > 3) S.Store(Activations.Of<S, V>(f, y3), y + (3 * target.Step));
            y += target.Line;
        }
    }

    // G's rows are (1/4, 0, 0), (-1/6, -1/6, -1/6), (-1/6, 1/6, -1/6), (1/24, 1/12, 1/6), (1/24, -1/12, 1/6) and (0, 0, 1).
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Kernel<S, V>(V g0, V g1, V g2, float* to, nint step)
        where S : ISimd<V> where V : struct
    {
        V minusSixth = S.Set(-1 / 6f), ends = S.Add(g0, g2), middle = S.Mul(g1, S.Set(1 / 12f));
        V weighted = S.Fma(g0, S.Set(1 / 24f), S.Mul(g2, S.Set(1 / 6f)));
        S.Store(S.Mul(g0, S.Set(0.25f)), to);
        S.Store(S.Mul(S.Add(ends, g1), minusSixth), to + step);
        S.Store(S.Mul(S.Sub(ends, g1), minusSixth), to + (2 * step));
        S.Store(S.Add(weighted, middle), to + (3 * step));
        S.Store(S.Sub(weighted, middle), to + (4 * step));
        S.Store(g2, to + (5 * step));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Input<S, V>(V d0, V d1, V d2, V d3, V d4, V d5, float* to, nint step)
        where S : ISimd<V> where V : struct
    {
        V even = S.Fma(S.Set(-4f), d2, d4), odd = S.Fma(S.Set(-4f), d1, d3);
        V even2 = S.Sub(d4, d2), odd2 = S.Sub(d3, d1);
        odd2 = S.Add(odd2, odd2);
        S.Store(S.Fma(S.Set(4f), d0, S.Fma(S.Set(-5f), d2, d4)), to);
        S.Store(S.Add(even, odd), to + step);
        S.Store(S.Sub(even, odd), to + (2 * step));
        S.Store(S.Add(even2, odd2), to + (3 * step));
        S.Store(S.Sub(even2, odd2), to + (4 * step));
        S.Store(S.Fma(S.Set(4f), d1, S.Fma(S.Set(-5f), d3, d5)), to + (5 * step));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Output<S, V>(
        V m0, V m1, V m2, V m3, V m4, V m5, out V y0, out V y1, out V y2, out V y3)
        where S : ISimd<V> where V : struct
    {
        V a = S.Add(m1, m2), b = S.Sub(m1, m2), c = S.Add(m3, m4), d = S.Sub(m3, m4);
        y0 = S.Add(m0, S.Add(a, c));
        y1 = S.Fma(S.Set(2f), d, b);
        y2 = S.Fma(S.Set(4f), c, a);
        y3 = S.Add(S.Fma(S.Set(8f), d, b), m5);
    }
}
