using Espalier.Formats;

namespace Espalier.Models;

/// <summary>An open safetensors file, which belongs to this from now on.</summary>
internal sealed class StoredTensors(SafetensorsReader reader) : ModelTensors
{
    private readonly Lock gate = new();

    public override string Source => reader.Source;

    public override IReadOnlyDictionary<string, string> Metadata => reader.Metadata;

    public override IReadOnlyDictionary<string, int[]> Shapes =>
        field ??= new OrderedDictionary<string, int[]>(reader.Entries.Select(e => KeyValuePair.Create(e.Key, e.Value.Shape)));

    public override void Read(string name, int start, Span<float> destination)
    {
        lock (gate) reader.ReadFloats(name, start, destination);
    }

    public override void Dispose() => reader.Dispose();
}
