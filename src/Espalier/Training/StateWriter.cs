using Espalier.Formats;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>Collects named values for a training state. Tensors are not copied: they are written when the file is.</summary>
public sealed class StateWriter
{
    private readonly List<SafetensorsEntry> entries;
    private readonly string prefix;

    internal StateWriter() : this([], "") { }

    private StateWriter(List<SafetensorsEntry> entries, string prefix) => (this.entries, this.prefix) = (entries, prefix);

    /// <summary>A writer whose names all begin with <paramref name="name"/> and a slash.</summary>
    public StateWriter Section(string name) => new(entries, $"{prefix}{name}/");

    public void Add(string name, Tensor value) =>
        entries.Add(new SafetensorsEntry(prefix + name, ElementType.F32, value.Shape.ToArray(),
            stream => FloatBytes.Write(stream, value.Span)));

    public void Add(string name, params long[] values) => entries.Add(SafetensorsEntry.FromLongs(prefix + name, values));

    /// <summary>Stored bit for bit, infinities and NaN included.</summary>
    public void Add(string name, params double[] values) => Add(name, Array.ConvertAll(values, BitConverter.DoubleToInt64Bits));

    public void Add(string name, byte[] values) => entries.Add(SafetensorsEntry.FromBytes(prefix + name, values));

    internal void Write(string path, IReadOnlyDictionary<string, string> metadata) => Safetensors.Write(path, entries, metadata);
}
