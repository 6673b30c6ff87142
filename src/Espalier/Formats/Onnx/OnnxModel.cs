namespace Espalier.Formats.Onnx;

/// <summary>A model file of ONNX (onnx.ai): a graph and what is said of it. Field numbers are those of onnx.proto.</summary>
/// <param name="Metadata">Strings for whoever reads the file.</param>
internal sealed record OnnxModel(OnnxGraph Graph, IReadOnlyList<KeyValuePair<string, string>> Metadata)
{
    /// <summary>Readers of protobuf take no larger message.</summary>
    private const long MaxLength = int.MaxValue;

    /// <summary>Writes the file; it appears whole or not at all. Equal models give equal bytes.</summary>
    /// <exception cref="EspalierException">It cannot be written, or is larger than an ONNX file can be.</exception>
    public void Write(string path)
    {
        ProtoMessage message = Encode();
        RequireFits(path, message.Length);
        AtomicFile.Write(path, message.CopyTo);
    }

    /// <summary>Bytes of the file.</summary>
    public long Length => Encode().Length;

    /// <exception cref="EspalierException">So many bytes are more than an ONNX file can have.</exception>
    public static void RequireFits(string path, long bytes)
    {
        if (bytes > MaxLength)
            throw new EspalierException(FormattableString.Invariant($"{path}: the model takes {bytes / 1e9:0.0} GB, but an ONNX file ")
                + "holds at most 2 GB; write a .safetensors file, or choose int8 or a smaller model");
    }

    /// <summary>
    /// ModelProto: ir_version 1, producer_name 2, producer_version 3, graph 7, opset_import 8, metadata_props 14.
    /// OperatorSetIdProto: domain 1, version 2. StringStringEntryProto: key 1, value 2.
    /// </summary>
    private ProtoMessage Encode()
    {
        int irVersion = Graph.Opset < 23 ? 8 : 11;      // the file formats that came with opsets 17 and 23
        string version = typeof(OnnxModel).Assembly.GetName().Version!.ToString(3);
        ProtoMessage message = new ProtoMessage().Int(1, irVersion).Text(2, "espalier").Text(3, version)
            .Message(7, Graph.Encode()).Message(8, new ProtoMessage().Text(1, "").Int(2, Graph.Opset));
        foreach (var (key, value) in Metadata) message.Message(14, new ProtoMessage().Text(1, key).Text(2, value));
        return message;
    }
}
