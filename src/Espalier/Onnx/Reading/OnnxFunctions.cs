using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>An operator of ONNX that is a function of one number, and its attributes with what they are where they are not given.
/// </summary>
internal sealed record OnnxFunction(ElementFunction Function, string Operator, string? A = null, float DefaultA = 0,
    string? B = null, float DefaultB = 0);

/// <summary>Which operators are the functions of <see cref="ElementOp"/> and <see cref="PairOp"/>, for both directions.</summary>
internal static class OnnxFunctions
{
    private static readonly IReadOnlyList<OnnxFunction> Elements =
    [
        new(ElementFunction.Acos, "Acos"), new(ElementFunction.Acosh, "Acosh"), new(ElementFunction.Asin, "Asin"),
        new(ElementFunction.Asinh, "Asinh"), new(ElementFunction.Atan, "Atan"), new(ElementFunction.Atanh, "Atanh"),
        new(ElementFunction.Ceil, "Ceil"), new(ElementFunction.Celu, "Celu", "alpha", 1), new(ElementFunction.Cos, "Cos"),
        new(ElementFunction.Cosh, "Cosh"), new(ElementFunction.Elu, "Elu", "alpha", 1), new(ElementFunction.Erf, "Erf"),
        new(ElementFunction.Floor, "Floor"), new(ElementFunction.HardSigmoid, "HardSigmoid", "alpha", 0.2f, "beta", 0.5f),
        new(ElementFunction.HardSwish, "HardSwish"), new(ElementFunction.LeakyRelu, "LeakyRelu", "alpha", 0.01f),
        new(ElementFunction.Mish, "Mish"), new(ElementFunction.Not, "Not"),
        new(ElementFunction.Reciprocal, "Reciprocal"), new(ElementFunction.Round, "Round"),
        new(ElementFunction.Selu, "Selu", "alpha", 1.67326319217681884765625f, "gamma", 1.05070102214813232421875f),
        new(ElementFunction.Sign, "Sign"), new(ElementFunction.Sin, "Sin"), new(ElementFunction.Sinh, "Sinh"),
        new(ElementFunction.Softplus, "Softplus"), new(ElementFunction.Softsign, "Softsign"),
        new(ElementFunction.Swish, "Swish", "alpha", 1), new(ElementFunction.Tan, "Tan"),
        new(ElementFunction.ThresholdedRelu, "ThresholdedRelu", "alpha", 1),
    ];

    private static readonly IReadOnlyList<(PairFunction Function, string Operator)> Pairs =
    [
        (PairFunction.And, "And"), (PairFunction.Equal, "Equal"), (PairFunction.Greater, "Greater"),
        (PairFunction.GreaterOrEqual, "GreaterOrEqual"), (PairFunction.Less, "Less"), (PairFunction.LessOrEqual, "LessOrEqual"),
        (PairFunction.Max, "Max"), (PairFunction.Min, "Min"), (PairFunction.Mod, "Mod"), (PairFunction.Or, "Or"),
        (PairFunction.Pow, "Pow"), (PairFunction.Xor, "Xor"),
    ];

    private static readonly Dictionary<string, OnnxFunction> OneByOperator = Elements.ToDictionary(f => f.Operator);
    private static readonly Dictionary<string, PairFunction> TwoByOperator = Pairs.ToDictionary(p => p.Operator, p => p.Function);

    public static OnnxFunction? Element(string @operator) => OneByOperator.GetValueOrDefault(@operator);

    public static PairFunction? Pair(string @operator) => TwoByOperator.TryGetValue(@operator, out PairFunction f) ? f : null;

    public static OnnxFunction Of(ElementFunction function) => Elements.First(f => f.Function == function);

    public static string Of(PairFunction function) => Pairs.First(p => p.Function == function).Operator;

    /// <summary>Whether the result is true or false.</summary>
    public static bool IsLogic(PairFunction function) => function is PairFunction.And or PairFunction.Or or PairFunction.Xor
        or PairFunction.Equal or PairFunction.Greater or PairFunction.GreaterOrEqual or PairFunction.Less
        or PairFunction.LessOrEqual;
}
