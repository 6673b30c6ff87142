using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// Operators of ONNX Runtime's own, which its optimiser and its quantiser write. Some have the name of an operator of ONNX and
/// other operands, as Attention has; so only what is listed here is read.
/// </summary>
internal static class OnnxReadMicrosoft
{
    public const string Domain = "com.microsoft";

    private static readonly SortedDictionary<string, Func<OnnxReadCall, OnnxOperand>> Known = new(StringComparer.Ordinal)
    {
        ["BiasGelu"] = c => c.Make("Gelu", c.Make("Add", c[0], c[1])),
        ["DequantizeLinear"] = OnnxReadQuantised.Dequantise,
        ["FastGelu"] = c => c.Emit.Element(ElementFunction.GeluTanh, c.Has(1) ? c.Make("Add", c[0], c[1]) : c[0]),
        ["FusedMatMul"] = FusedMatMul,
        ["Gelu"] = c => c.Make("Gelu", c[0]),
        ["QuantizeLinear"] = OnnxReadQuantised.Quantise,
        ["QuickGelu"] = c => c.Emit.Element(ElementFunction.Swish, c[0], c.Node.Float("alpha", 1.702f)),
    };

    /// <exception cref="InvalidDataException">The operator is not read, or not as it stands there.</exception>
    public static IReadOnlyList<OnnxOperand> Read(OnnxReadCall call) =>
        Known.TryGetValue(call.Node.Operator, out Func<OnnxReadCall, OnnxOperand>? read) ? [read(call)]
            : throw new InvalidDataException($"is not read; of {Domain}'s operators {string.Join(", ", Known.Keys)} are");

    /// <summary>alpha A B, the last two axes of A and B perhaps turned.</summary>
    private static OnnxOperand FusedMatMul(OnnxReadCall call)
    {
        if (call.Node.Int("transBatchA", 0) != 0 || call.Node.Int("transBatchB", 0) != 0)
            throw new InvalidDataException("turns its batch");
        OnnxOperand a = call[0], b = call[1];
        if (call.Node.Int("transA", 0) != 0) a = OnnxReadProducts.Turned(call.Emit, a);
        bool turned = call.Node.Int("transB", 0) != 0;
        bool weight = b is { IsConstant: true, Varies: false, Rank: 2 } && !a.IsConstant;
        OnnxOperand y = turned && weight ? OnnxReadProducts.Linear(call.Emit, a, call.Emit.Weight(b), null)
            : OnnxReadProducts.MatMul(call, a, turned ? OnnxReadProducts.Turned(call.Emit, b) : b);
        return call.Emit.Affine(y, call.Node.Float("alpha", 1), 0);
    }
}
