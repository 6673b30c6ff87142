using System.Numerics.Tensors;

namespace Espalier.Tensors;

/// <summary>Functions of one number, as ONNX and PyTorch name them; a and b are the settings of <see cref="ElementOp"/>.</summary>
public enum ElementFunction
{
    Acos, Acosh, Asin, Asinh, Atan, Atanh, Ceil,

    /// <summary>max(0, x) + min(0, a (e^(x/a) - 1)).</summary>
    Celu, Cos, Cosh,

    /// <summary>x for x &gt; 0, else a (e^x - 1).</summary>
    Elu, Erf, Floor,

    /// <summary>GELU with tanh in the place of the error function.</summary>
    GeluTanh,

    /// <summary>max(0, min(1, a x + b)).</summary>
    HardSigmoid,

    /// <summary>x max(0, min(1, x/6 + 1/2)).</summary>
    HardSwish,

    /// <summary>x for x &gt;= 0, else a x.</summary>
    LeakyRelu,

    /// <summary>x tanh(softplus(x)).</summary>
    Mish,

    /// <summary>1 for 0, else 0.</summary>
    Not, Reciprocal,

    /// <summary>Halves to the even neighbour.</summary>
    Round,

    /// <summary>b x for x &gt; 0, else b a (e^x - 1).</summary>
    Selu, Sign, Sin, Sinh,

    /// <summary>ln(1 + e^x).</summary>
    Softplus,

    /// <summary>x / (1 + |x|).</summary>
    Softsign,

    /// <summary>x / (1 + e^(-a x)).</summary>
    Swish, Tan,

    /// <summary>x for x &gt; a, else 0.</summary>
    ThresholdedRelu,
}

/// <summary>
/// y = f(x) of functions that no op of their own has: those that networks rarely use, and those of files of others. x of any shape
/// -> y of the same shape. Where f has a step or a corner, its slope there is that of the right side or 0.
/// </summary>
public sealed class ElementOp(Tensor x, ElementFunction function, float a = 0, float b = 0) : UnaryOp(x)
{
    public override string Name => "Element";

    public ElementFunction Function => function;

    public float A => a;

    public float B => b;

    protected override void Save(OpSettings settings) => settings.Set("function", function).Set("a", a).Set("b", b);

    protected internal override void Compute(ReadOnlySpan<float> x, Span<float> y)
    {
        if (function is ElementFunction.HardSigmoid or ElementFunction.HardSwish)
        {
            bool swish = function == ElementFunction.HardSwish;
            Span<float> gate = swish ? stackalloc float[x.Length] : y;
            TensorPrimitives.Multiply(x, swish ? 1 / 6f : a, gate);
            TensorPrimitives.Add(gate, swish ? 0.5f : b, gate);
            TensorPrimitives.Clamp(gate, 0, 1, gate);
            if (swish) TensorPrimitives.Multiply(x, gate, y);
        }
        else if (function == ElementFunction.Swish)
        {
            // Not in y, which may be x.
            Span<float> gate = stackalloc float[x.Length];
            TensorPrimitives.Multiply(x, a, gate);
            TensorPrimitives.Sigmoid(gate, gate);
            TensorPrimitives.Multiply(x, gate, y);
        }
        else for (int i = 0; i < x.Length; i++) y[i] = (float)Value(function, x[i], a, b);
    }

    protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d)
    {
        for (int i = 0; i < x.Length; i++) d[i] = (float)Slope(function, x[i], a, b);
    }

    /// <summary>f(x).</summary>
    public static double Value(ElementFunction function, double x, double a, double b) => function switch
    {
        ElementFunction.Acos => Math.Acos(x),
        ElementFunction.Acosh => Math.Acosh(x),
        ElementFunction.Asin => Math.Asin(x),
        ElementFunction.Asinh => Math.Asinh(x),
        ElementFunction.Atan => Math.Atan(x),
        ElementFunction.Atanh => Math.Atanh(x),
        ElementFunction.Ceil => Math.Ceiling(x),
        ElementFunction.Celu => x > 0 ? x : a * (Math.Exp(x / a) - 1),
        ElementFunction.Cos => Math.Cos(x),
        ElementFunction.Cosh => Math.Cosh(x),
        ElementFunction.Elu => x > 0 ? x : a * (Math.Exp(x) - 1),
        ElementFunction.Erf => Erf(x),
        ElementFunction.Floor => Math.Floor(x),
        ElementFunction.GeluTanh => x / 2 * (1 + Math.Tanh(TanhInside(x))),
        ElementFunction.HardSigmoid => Math.Clamp(a * x + b, 0, 1),
        ElementFunction.HardSwish => x * Math.Clamp(x / 6 + 0.5, 0, 1),
        ElementFunction.LeakyRelu => x >= 0 ? x : a * x,
        ElementFunction.Mish => x * Math.Tanh(Softplus(x)),
        ElementFunction.Not => x == 0 ? 1 : 0,
        ElementFunction.Reciprocal => 1 / x,
        ElementFunction.Round => Math.Round(x, MidpointRounding.ToEven),
        ElementFunction.Selu => b * (x > 0 ? x : a * (Math.Exp(x) - 1)),
        ElementFunction.Sign => x > 0 ? 1 : x < 0 ? -1 : x,
        ElementFunction.Sin => Math.Sin(x),
        ElementFunction.Sinh => Math.Sinh(x),
        ElementFunction.Softplus => Softplus(x),
        ElementFunction.Softsign => x / (1 + Math.Abs(x)),
        ElementFunction.Swish => x * Sigmoid(a * x),
        ElementFunction.Tan => Math.Tan(x),
        ElementFunction.ThresholdedRelu => x > a ? x : 0,
        _ => throw new ArgumentException($"Element: there is no function {function}"),
    };

    private static double Slope(ElementFunction function, double x, double a, double b)
    {
        switch (function)
        {
            case ElementFunction.Acos: return -1 / Math.Sqrt(1 - x * x);
            case ElementFunction.Acosh: return 1 / Math.Sqrt(x * x - 1);
            case ElementFunction.Asin: return 1 / Math.Sqrt(1 - x * x);
            case ElementFunction.Asinh: return 1 / Math.Sqrt(x * x + 1);
            case ElementFunction.Atan: return 1 / (1 + x * x);
            case ElementFunction.Atanh: return 1 / (1 - x * x);
            case ElementFunction.Celu: return x > 0 ? 1 : Math.Exp(x / a);
            case ElementFunction.Cos: return -Math.Sin(x);
            case ElementFunction.Cosh: return Math.Sinh(x);
            case ElementFunction.Elu: return x > 0 ? 1 : a * Math.Exp(x);
            case ElementFunction.Erf: return 2 / Math.Sqrt(Math.PI) * Math.Exp(-x * x);
            case ElementFunction.GeluTanh:
                double t = Math.Tanh(TanhInside(x));
                return (1 + t) / 2 + x / 2 * (1 - t * t) * Math.Sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * x * x);
            case ElementFunction.HardSigmoid: return a * x + b is > 0 and < 1 ? a : 0;
            case ElementFunction.HardSwish: return x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + 0.5;
            case ElementFunction.LeakyRelu: return x >= 0 ? 1 : a;
            case ElementFunction.Mish:
                double m = Math.Tanh(Softplus(x));
                return m + x * (1 - m * m) * Sigmoid(x);
            case ElementFunction.Reciprocal: return -1 / (x * x);
            case ElementFunction.Selu: return x > 0 ? b : b * a * Math.Exp(x);
            case ElementFunction.Sin: return Math.Cos(x);
            case ElementFunction.Sinh: return Math.Cosh(x);
            case ElementFunction.Softplus: return Sigmoid(x);
            case ElementFunction.Softsign: return 1 / ((1 + Math.Abs(x)) * (1 + Math.Abs(x)));
            case ElementFunction.Swish:
                double s = Sigmoid(a * x);
                return s * (1 + a * x * (1 - s));
            case ElementFunction.Tan: return 1 + Math.Tan(x) * Math.Tan(x);
            case ElementFunction.ThresholdedRelu: return x > a ? 1 : 0;
            default: return 0;      // the others are steps
        }
    }

    private static double TanhInside(double x) => Math.Sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x);

    private static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));

    private static double Softplus(double x) => Math.Max(x, 0) + Math.Log(1 + Math.Exp(-Math.Abs(x)));

    /// <summary>By its series near 0, else by the Chebyshev fit of Numerical Recipes (relative error of erfc below 1.2e-7).</summary>
    private static double Erf(double x)
    {
        if (Math.Abs(x) < 0.5)
        {
            double term = x, sum = x;
            for (int n = 1; n < 12; n++) sum += (term *= -x * x / n) / (2 * n + 1);
            return 2 / Math.Sqrt(Math.PI) * sum;
        }
        double t = 1 / (1 + 0.5 * Math.Abs(x));
        double erfc = t * Math.Exp(-x * x - 1.26551223 + t * (1.00002368 + t * (0.37409196 + t * (0.09678418 + t * (-0.18628806
            + t * (0.27886807 + t * (-1.13520398 + t * (1.48851587 + t * (-0.82215223 + t * 0.17087277)))))))));
        return x >= 0 ? 1 - erfc : erfc - 1;
    }
}

public static partial class F
{
    /// <inheritdoc cref="ElementOp"/>
    public static Tensor Element(Tensor x, ElementFunction function, float a = 0, float b = 0) => new ElementOp(x, function, a, b).Run();
}
