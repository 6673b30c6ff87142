namespace Espalier.Formats.Onnx;

/// <summary>An operator in a file that was read.</summary>
/// <param name="Domain">"" for the standard operators.</param>
/// <param name="Inputs">Names; "" for optional ones that are left out.</param>
internal sealed record OnnxSourceNode(string Operator, string Domain, string Name, IReadOnlyList<string> Inputs,
    IReadOnlyList<string> Outputs, IReadOnlyDictionary<string, OnnxSourceAttribute> Attributes)
{
    /// <summary>For messages: "node 'Conv_0' (Conv)".</summary>
    public override string ToString() => $"node {ReadGuard.Quote(Name.Length > 0 ? Name : Outputs.FirstOrDefault() ?? "")} "
        + $"({(Domain.Length > 0 ? $"{Domain}." : "")}{Operator})";
}

/// <summary>An attribute: what of it is there says its kind.</summary>
internal sealed record OnnxSourceAttribute
{
    public long? Int { get; init; }

    public float? Float { get; init; }

    public string? Text { get; init; }

    public IReadOnlyList<long>? Ints { get; init; }

    public IReadOnlyList<float>? Floats { get; init; }

    public OnnxSourceTensor? Tensor { get; init; }

    /// <summary>Whether it is a graph, as of If and Loop.</summary>
    public bool IsGraph { get; init; }
}

/// <summary>An input or output of a graph. Of each axis the length; null where it has a name or nothing is said.</summary>
/// <param name="Type">0 where it is no tensor.</param>
/// <param name="Shape">Null where nothing is said of it.</param>
internal sealed record OnnxSourceValue(string Name, int Type, long?[]? Shape);

/// <summary>What of a model's file is read: see <see cref="OnnxSourceReader"/>.</summary>
internal sealed class OnnxSource
{
    public long IrVersion { get; set; }

    public string Producer { get; set; } = "";

    /// <summary>Version of the standard operators.</summary>
    public int Opset => (int)Math.Clamp(Opsets.GetValueOrDefault("", 1), 0, int.MaxValue);

    public string GraphName { get; set; } = "";

    public Dictionary<string, string> Metadata { get; } = new(StringComparer.Ordinal);

    /// <summary>Versions by domain, "" for the standard one.</summary>
    public Dictionary<string, long> Opsets { get; } = new(StringComparer.Ordinal);

    public List<OnnxSourceNode> Nodes { get; } = [];

    public OrderedDictionary<string, OnnxSourceTensor> Initialisers { get; } = [];

    public List<OnnxSourceValue> Inputs { get; } = [];

    public List<OnnxSourceValue> Outputs { get; } = [];
}
