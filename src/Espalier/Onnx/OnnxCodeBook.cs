using Espalier.Formats.Onnx;
using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>Weights of code books: entries and codes of a byte as they are, and Gather, which runtimes do once when they
/// load.</summary>
internal static class OnnxCodeBook
{
    /// <summary>A weight whose book and codes are known; null where the value is no such weight.</summary>
    /// <param name="transposed">Whether [out, in] is wanted as [in, out].</param>
    public static string? Weight(OnnxConstants constants, OnnxGraph file, GraphValue value, string name, bool transposed)
    {
        if (value.Producer is not { Op: CodeBookOp } node || node.Inputs.Any(i => !i.IsWeight)) return null;
        bool bytes = node.Operands[0]!.Shape[0] <= 256;
        string book = constants.Of(node.Operands[0]!);
        string codes = constants.Of(node.Operands[1]!, "codes", (called, t) => new OnnxTensor(called, bytes ? OnnxType.UInt8
            : OnnxType.Int32, [.. t.Shape.ToArray().Select(n => (long)n)], stream =>
        {
            foreach (float code in t.ToArray())
                if (bytes) stream.WriteByte((byte)code);
                else stream.Write(BitConverter.GetBytes((int)code));
        }));
        return Write(constants, file, name, book, codes, value.Shape, transposed);
    }

    /// <summary>One that is computed.</summary>
    public static string Write(OnnxCall call) => Write(call.Constants, call.Writer.File, call.Name, call[0], call[1],
        call.Node.Output.Shape, transposed: false);

    /// <summary>Entries [B, O, d] of the codes -> [O, B, d], or [B, d, O], as one row or column of each output.</summary>
    private static string Write(OnnxConstants constants, OnnxGraph file, string name, string book, string codes, Shape shape,
        bool transposed)
    {
        string places = file.Node("Cast", constants.Free(name + ".places"), [codes], OnnxAttribute.Int("to",
            (int)OnnxType.Int64));
        string entries = file.Node("Gather", constants.Free(name + ".entries"), [book, places], OnnxAttribute.Int("axis", 0));
        string turned = file.Node("Transpose", constants.Free(name + ".turned"), [entries],
            OnnxAttribute.Ints("perm", transposed ? [0, 2, 1] : [1, 0, 2]));
        long[] dims = transposed ? [shape.Length / shape[0], shape[0]] : [.. shape.ToArray().Select(n => (long)n)];
        return file.Node("Reshape", name, [turned, constants.Ints(dims)]);
    }
}
