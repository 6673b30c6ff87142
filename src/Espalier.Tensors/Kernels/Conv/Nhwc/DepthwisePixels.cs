using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>One, four or eight neighbouring output pixels of a depthwise convolution, whose taps are the same and inside the
/// image: each vector of weights is read once for all of them.</summary>
internal unsafe struct DepthwisePixels
{
    /// <summary>The first pixel's first tap; the distances between pixels, kernel rows and kernel columns.</summary>
    public float* X;
    public nint Step, RowStep, TapStep;

    /// <summary>Kernel rows and columns that are inside.</summary>
    public int Rows, Taps;

    /// <summary>[taps, channels] from the first tap that is inside on; the distance between kernel rows.</summary>
    public float* Weights;
    public nint WeightRow;
    public int Channels;
    public float* Bias;

    /// <summary>Null for none.</summary>
    public float* Residual;
    public nint LdResidual;
    public Activation Activation;
    public float* Y;
    public nint Ldy;

    /// <summary>Computes 8, 4 or 1 pixels.</summary>
    public readonly void Run<S, V>(int pixels)
        where S : ISimd<V> where V : struct
    {
        int c = 0;
        for (; c <= Channels - S.Width; c += S.Width)
        {
            if (pixels == 8) Eight<S, V>(c);
            else if (pixels == 4) Four<S, V>(c);
            else One<S, V>(c, 0);
        }

        for (; c < Channels; c++)
            for (int p = 0; p < pixels; p++) One<Scalar, float>(c, p);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private readonly void Eight<S, V>(nint c)
        where S : ISimd<V> where V : struct
    {
        V a0 = S.Load(Bias + c), a1 = a0, a2 = a0, a3 = a0, a4 = a0, a5 = a0, a6 = a0, a7 = a0;
        float* line = X + c, weightLine = Weights + c;
        nint step = Step, tapStep = TapStep, channels = Channels;
        for (int ky = Rows; ky > 0; ky--, line += RowStep, weightLine += WeightRow)
        {
            float* x = line, x4 = line + (4 * step), w = weightLine;
            for (int kx = Taps; kx > 0; kx--, x += tapStep, x4 += tapStep, w += channels)
            {
                V weight = S.Load(w);
                a0 = S.Fma(S.Load(x), weight, a0);
                a1 = S.Fma(S.Load(x + step), weight, a1);
                a2 = S.Fma(S.Load(x + (2 * step)), weight, a2);
                a3 = S.Fma(S.Load(x + (3 * step)), weight, a3);
                a4 = S.Fma(S.Load(x4), weight, a4);
                a5 = S.Fma(S.Load(x4 + step), weight, a5);
                a6 = S.Fma(S.Load(x4 + (2 * step)), weight, a6);
                a7 = S.Fma(S.Load(x4 + (3 * step)), weight, a7);
            }
        }

        Finish<S, V>(a0, c, 0);
        Finish<S, V>(a1, c, 1);
        Finish<S, V>(a2, c, 2);
        Finish<S, V>(a3, c, 3);
        Finish<S, V>(a4, c, 4);
        Finish<S, V>(a5, c, 5);
        Finish<S, V>(a6, c, 6);
        Finish<S, V>(a7, c, 7);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private readonly void Four<S, V>(nint c)
        where S : ISimd<V> where V : struct
    {
        V a0 = S.Load(Bias + c), a1 = a0, a2 = a0, a3 = a0;
        float* line = X + c, weightLine = Weights + c;
        nint step = Step, tapStep = TapStep, channels = Channels;
        for (int ky = Rows; ky > 0; ky--, line += RowStep, weightLine += WeightRow)
        {
            float* x = line, w = weightLine;
            for (int kx = Taps; kx > 0; kx--, x += tapStep, w += channels)
            {
                V weight = S.Load(w);
                a0 = S.Fma(S.Load(x), weight, a0);
                a1 = S.Fma(S.Load(x + step), weight, a1);
                a2 = S.Fma(S.Load(x + (2 * step)), weight, a2);
                a3 = S.Fma(S.Load(x + (3 * step)), weight, a3);
            }
        }

        Finish<S, V>(a0, c, 0);
        Finish<S, V>(a1, c, 1);
        Finish<S, V>(a2, c, 2);
        Finish<S, V>(a3, c, 3);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private readonly void One<S, V>(nint c, int pixel)
        where S : ISimd<V> where V : struct
    {
        V a = S.Load(Bias + c);
        float* line = X + (pixel * Step) + c, weightLine = Weights + c;
        for (int ky = Rows; ky > 0; ky--, line += RowStep, weightLine += WeightRow)
        {
            float* x = line, w = weightLine;
            for (int kx = Taps; kx > 0; kx--, x += TapStep, w += Channels) a = S.Fma(S.Load(x), S.Load(w), a);
        }

        Finish<S, V>(a, c, pixel);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void Finish<S, V>(V a, nint c, nint pixel)
        where S : ISimd<V> where V : struct
    {
        if (Residual != null) a = S.Add(a, S.Load(Residual + (pixel * LdResidual) + c));
        S.Store(Activations.Of<S, V>(Activation, a), Y + (pixel * Ldy) + c);
    }
}
