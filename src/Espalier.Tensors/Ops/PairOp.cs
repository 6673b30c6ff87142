namespace Espalier.Tensors;

/// <summary>Functions of two numbers; comparisons and logic give 1 for true and 0 for false.</summary>
public enum PairFunction
{
    And, Equal,

    /// <summary>The rest of a division, with the sign of a.</summary>
    FMod, Greater, GreaterOrEqual, Less, LessOrEqual, Max, Min,

    /// <summary>The rest of a division, with the sign of b.</summary>
    Mod, Or, Pow, Xor,
}

/// <summary>y = f(a, b), of functions that no op of their own has. Comparisons and logic have a slope of 0 everywhere; of two equal
/// numbers the first is the larger one and the smaller one.</summary>
/// <inheritdoc/>
public sealed class PairOp(Tensor a, Tensor b, PairFunction function) : BinaryOp(a, b)
{
    public override string Name => "Pair";

    public PairFunction Function => function;

    protected override void Save(OpSettings settings) => settings.Set("function", function);

    protected internal override void Compute(ReadOnlySpan<float> a, ReadOnlySpan<float> b, Span<float> y)
    {
        for (int i = 0; i < y.Length; i++) y[i] = (float)Value(function, a[i], b[i]);
    }

    protected override void Compute(ReadOnlySpan<float> a, float b, Span<float> y)
    {
        for (int i = 0; i < y.Length; i++) y[i] = (float)Value(function, a[i], b);
    }

    protected override void Compute(float a, ReadOnlySpan<float> b, Span<float> y)
    {
        for (int i = 0; i < y.Length; i++) y[i] = (float)Value(function, a, b[i]);
    }

    protected override void GradientA(
        ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> dy, Span<float> da)
    {
        for (int i = 0; i < da.Length; i++)
        {
            da[i] = dy[i] * function switch
            {
                PairFunction.Max => a[i] >= b[i] ? 1 : 0,
                PairFunction.Min => a[i] <= b[i] ? 1 : 0,
                PairFunction.FMod or PairFunction.Mod => 1,
                PairFunction.Pow => b[i] == 0 ? 0 : b[i] * MathF.Pow(a[i], b[i] - 1),
                _ => 0,
            };
        }
    }

    protected override void GradientB(
        ReadOnlySpan<float> a, ReadOnlySpan<float> b, ReadOnlySpan<float> dy, Span<float> db)
    {
        for (int i = 0; i < db.Length; i++)
        {
            db[i] = dy[i] * function switch
            {
                PairFunction.Max => a[i] >= b[i] ? 0 : 1,
                PairFunction.Min => a[i] <= b[i] ? 0 : 1,
                PairFunction.FMod => -MathF.Truncate(a[i] / b[i]),
                PairFunction.Mod => -MathF.Floor(a[i] / b[i]),
                PairFunction.Pow => a[i] > 0 ? MathF.Pow(a[i], b[i]) * MathF.Log(a[i]) : 0,
                _ => 0,
            };
        }
    }

    /// <summary>f(a, b).</summary>
    public static double Value(PairFunction function, double a, double b) => function switch
    {
        PairFunction.And => a != 0 && b != 0 ? 1 : 0,
        PairFunction.Equal => a == b ? 1 : 0,
        PairFunction.FMod => a % b,
        PairFunction.Greater => a > b ? 1 : 0,
        PairFunction.GreaterOrEqual => a >= b ? 1 : 0,
        PairFunction.Less => a < b ? 1 : 0,
        PairFunction.LessOrEqual => a <= b ? 1 : 0,
        PairFunction.Max => a >= b || double.IsNaN(a) ? a : b,
        PairFunction.Min => a <= b || double.IsNaN(a) ? a : b,
        PairFunction.Mod => a - b * Math.Floor(a / b),
        PairFunction.Or => a != 0 || b != 0 ? 1 : 0,
        PairFunction.Pow => Math.Pow(a, b),
        PairFunction.Xor => a != 0 != (b != 0) ? 1 : 0,
        _ => throw new ArgumentException($"Pair: there is no function {function}"),
    };
}

public static partial class F
{
    /// <summary>f(a, b) under NumPy's broadcasting rules.</summary>
    public static Tensor Pair(Tensor a, Tensor b, PairFunction function) => new PairOp(a, b, function).Run();
}
