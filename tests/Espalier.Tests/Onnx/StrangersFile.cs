using Espalier.Formats.Onnx;

namespace Espalier.Tests.Onnx;

/// <summary>Writes what this library's own writer does not: other versions of the file format, operators of other domains, and
/// constants that are inputs too.</summary>
internal static class StrangersFile
{
    /// <summary>GraphProto: node 1, name 2, initializer 5, input 11, output 12. ModelProto: ir_version 1, graph 7, opset_import
    /// 8; NodeProto: domain 7.</summary>
    public static void Write(string path, int irVersion, int opset, IReadOnlyList<OnnxValue> inputs, OnnxValue output,
        IReadOnlyList<OnnxTensor> constants, params IReadOnlyList<(string Domain, OnnxNode Node)> nodes)
    {
        var graph = new ProtoMessage();
        foreach (var (domain, node) in nodes)
            graph.Message(1, domain.Length == 0 ? node.Encode() : node.Encode().Text(7, domain));
        graph.Text(2, "strange");
        foreach (OnnxTensor constant in constants) graph.Message(5, constant.Encode());
        foreach (OnnxValue input in inputs) graph.Message(11, input.Encode());
        graph.Message(12, output.Encode());
        ProtoMessage model = new ProtoMessage().Int(1, irVersion).Message(7, graph)
            .Message(8, new ProtoMessage().Text(1, "").Int(2, opset))
            .Message(8, new ProtoMessage().Text(1, "com.microsoft").Int(2, 1));
        using FileStream stream = File.Create(path);
        model.CopyTo(stream);
    }
}
