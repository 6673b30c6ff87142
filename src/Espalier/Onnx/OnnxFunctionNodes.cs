using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>How functions of one number and of two are written, and what picks and chooses.</summary>
internal static class OnnxFunctionNodes
{
    /// <summary>By the operator of that name; newer ones are spelled out where the opset does not have them.</summary>
    public static string Element(OnnxCall call)
    {
        var op = (ElementOp)call.Node.Op;
        string x = call[0];
        switch (op.Function)
        {
            case ElementFunction.GeluTanh when call.Opset >= 20:
                return call.Result("Gelu", [x], OnnxAttribute.Text("approximate", "tanh"));
            case ElementFunction.GeluTanh:
                string cube = call.Part("cube", "Mul", [call.Part("square", "Mul", [x, x]), x]);
                string inner = call.Part("inner", "Add", [x, call.Part("term", "Mul", [cube, call.Float(0.044715f)])]);
                string tanh =
                    call.Part("tanh", "Tanh", [call.Part("scaled", "Mul", [inner, call.Float(MathF.Sqrt(2 / MathF.PI))])]);
                return call.Result("Mul",
                    [call.Part("half", "Mul", [x, call.Float(0.5f)]), call.Part("sum", "Add", [tanh, call.Float(1)])]);
            case ElementFunction.Swish:
                string gate = op.A == 1 ? x : call.Part("scaled", "Mul", [x, call.Float(op.A)]);
                return call.Result("Mul", [x, call.Part("sigmoid", "Sigmoid", [gate])]);
            case ElementFunction.Mish when call.Opset < 18:
                return call.Result("Mul", [x, call.Part("tanh", "Tanh", [call.Part("softplus", "Softplus", [x])])]);
            case ElementFunction.Not:
                return OfLogic(call, call.Part("is0", "Equal", [x, call.Float(0)]));
            default:
                OnnxFunction f = OnnxFunctions.Of(op.Function);
                List<OnnxAttribute> attributes = [];
                if (f.A is not null) attributes.Add(OnnxAttribute.Float(f.A, op.A));
                if (f.B is not null) attributes.Add(OnnxAttribute.Float(f.B, op.B));
                return call.Result(f.Operator, [x], attributes);
        }
    }

    public static string Pair(OnnxCall call)
    {
        var op = (PairOp)call.Node.Op;
        (string a, string b) = (call[0], call[1]);
        switch (op.Function)
        {
            case PairFunction.FMod: return call.Result("Mod", [a, b], OnnxAttribute.Int("fmod", 1));
            case PairFunction.Mod:
                string times = call.Part("times", "Floor", [call.Part("quotient", "Div", [a, b])]);
                return call.Result("Sub", [a, call.Part("whole", "Mul", [times, b])]);
            case PairFunction.And or PairFunction.Or or PairFunction.Xor:
                return OfLogic(call,
                    call.Part("logic", OnnxFunctions.Of(op.Function), [Truth(call, "a", a), Truth(call, "b", b)]));
            default:
                string name = OnnxFunctions.Of(op.Function);
                return OnnxFunctions.IsLogic(op.Function) ? OfLogic(call, call.Part("logic", name, [a, b]))
                    : call.Result(name, [a, b]);
        }
    }

    public static string Where(OnnxCall call) => call.Result("Where", [Truth(call, "condition", call[0]), call[1], call[2]]);

    /// <summary>Each image's numbers in a row, with one more where the list has places that are not among them.</summary>
    public static string Pick(OnnxCall call)
    {
        long[] list = [.. call.Constants.Value(call.Operand(1)).ToArray().Select(v => (long)v)];
        long[] sizes = [.. call.Settings.Ints("sizes").Select(n => (long)n)];
        string flat = call.Part("flat", "Reshape", [call[0], call.Ints(0, -1)]);
        if (list.Contains(-1))
        {
            long width = call.Shape(0).Length / call.Shape(0)[0];
            flat = call.Part("more", "Pad", [flat, call.Ints(0, 0, 0, 1), call.Float(call.Settings.Float("value"))]);
            list = [.. list.Select(p => p < 0 ? width : p)];
        }
        string places = call.Constants.Of(call.Operand(1), "places", (name, _) => OnnxTensor.Of(name, [list.Length], list));
        string picked = call.Part("picked", "Gather", [flat, places], OnnxAttribute.Int("axis", 1));
        return call.Result("Reshape", [picked, call.Ints([0, .. sizes])]);
    }

    /// <summary>Expanded to as many as there are images.</summary>
    public static string Repeat(OnnxCall call)
    {
        long[] rest = [.. call.Node.Output.Shape.ToArray()[1..].Select(n => (long)n)];
        string images = call.Part("images", "Shape", [call.Writer.Read(call.Operand(1), asTokens: false)],
            OnnxAttribute.Int("start", 0), OnnxAttribute.Int("end", 1));
        string shape = call.Part("shape", "Concat", [images, call.Ints(rest)], OnnxAttribute.Int("axis", 0));
        return call.Result("Expand", [call[0], shape]);
    }

    private static string Truth(OnnxCall call, string what, string x) =>
        call.Part(what + ".truth", "Cast", [x], OnnxAttribute.Int("to", (long)OnnxType.Bool));

    /// <summary>True and false as 1 and 0.</summary>
    private static string OfLogic(OnnxCall call, string x) =>
        call.Result("Cast", [x], OnnxAttribute.Int("to", (long)OnnxType.Float));
}
