using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>Initialisers, named as in <c>torch.nn.init</c>.</summary>
public static class Init
{
    [ThreadStatic]
    private static bool shapesOnly;

    /// <summary>While it is open, parameters of this thread's new modules are shapes without values, which take no memory, and
    /// initialisers do nothing: for finding out what a network of that name looks like.</summary>
    internal static InitSkip ShapesOnly()
    {
        bool before = shapesOnly;
        shapesOnly = true;
        return new InitSkip(() => shapesOnly = before);
    }

    /// <summary>Whether <see cref="ShapesOnly"/> is open.</summary>
    internal static bool IsShapesOnly => shapesOnly;

    public static void Uniform(Tensor t, float low, float high, ref Rng rng)
    {
        if (shapesOnly) return;
        foreach (ref float x in t.Span) x = rng.NextFloat(low, high);
    }

    public static void Normal(Tensor t, float std, ref Rng rng)
    {
        if (shapesOnly) return;
        foreach (ref float x in t.Span) x = std * rng.NextNormal();
    }

    /// <summary>Normal with mean 0, drawn again while outside ±<paramref name="bound"/> (an absolute bound, not in units of std).</summary>
    public static void TruncatedNormal(Tensor t, float std, ref Rng rng, float bound = 2)
    {
        if (shapesOnly) return;
        foreach (ref float x in t.Span)
            do x = std * rng.NextNormal();
            while (MathF.Abs(x) > bound);
    }

    /// <summary>Uniform in ±sqrt(6 / (fan in + fan out)) (Glorot).</summary>
    public static void XavierUniform(Tensor t, ref Rng rng)
    {
        var (fanIn, fanOut) = Fans(t.Shape);
        float bound = MathF.Sqrt(6f / (fanIn + fanOut));
        Uniform(t, -bound, bound, ref rng);
    }

    /// <summary>Normal with std sqrt(2 / fan) (He, for ReLU).</summary>
    public static void KaimingNormal(Tensor t, ref Rng rng, bool fanOut = false)
    {
        var (fanIn, fanOutward) = Fans(t.Shape);
        Normal(t, MathF.Sqrt(2f / (fanOut ? fanOutward : fanIn)), ref rng);
    }

    /// <summary>PyTorch's default for linear and convolution layers: weight and bias uniform in ±1/sqrt(fan in).</summary>
    public static void DefaultLinear(Tensor weight, Tensor? bias, ref Rng rng)
    {
        float bound = 1 / MathF.Sqrt(Fans(weight.Shape).In);
        Uniform(weight, -bound, bound, ref rng);
        if (bias is not null) Uniform(bias, -bound, bound, ref rng);
    }

    /// <summary>Inputs and outputs that one entry connects: [out, in, kernel...].</summary>
    public static (int In, int Out) Fans(Shape shape)
    {
        if (shape.Rank < 2) throw new ArgumentException($"fan in and fan out need a weight of rank 2 or more, not {shape}");
        int kernel = 1;
        for (int i = 2; i < shape.Rank; i++) kernel *= shape[i];
        return (shape[1] * kernel, shape[0] * kernel);
    }
}

/// <summary>Ends <see cref="Init.ShapesOnly"/>.</summary>
internal sealed class InitSkip(Action end) : IDisposable
{
    public void Dispose() => end();
}
