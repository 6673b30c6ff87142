using Espalier.Formats;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>Reads what a <see cref="StateWriter"/> collected. All methods throw an <see cref="EspalierException"/> that names
/// the file and the entry where it is missing or of another shape.</summary>
public sealed class StateReader
{
    private readonly SafetensorsReader file;
    private readonly string prefix;

    internal StateReader(SafetensorsReader file, string prefix = "") => (this.file, this.prefix) = (file, prefix);

    /// <summary>A reader of the entries that a writer's section of that name added.</summary>
    public StateReader Section(string name) => new(file, $"{prefix}{name}/");

    /// <summary>The names in this section.</summary>
    public IEnumerable<string> Names =>
        file.Entries.Keys.Where(k => k.StartsWith(prefix, StringComparison.Ordinal)).Select(k => k[prefix.Length..]);

    public bool Has(string name) => file.Entries.ContainsKey(prefix + name);

    /// <summary>Fills a tensor of the same shape.</summary>
    public void Read(string name, Tensor into)
    {
        int[] here = into.Shape.ToArray();
        if (file.Entries.TryGetValue(prefix + name, out SafetensorsInfo? info) && !info.Shape.AsSpan().SequenceEqual(here))
            throw new EspalierException($"{file.Source}: '{prefix}{name}' is [{string.Join(",", info.Shape)}] there and "
                + $"{into.Shape} here; the state is of another model, train under another name.");
        file.ReadFloats(prefix + name, into.Span);
    }

    public long[] ReadLongs(string name) => file.ReadLongs(prefix + name);

    public double[] ReadDoubles(string name) => Array.ConvertAll(ReadLongs(name), BitConverter.Int64BitsToDouble);

    public byte[] ReadBytes(string name) => file.ReadBytes(prefix + name);

    /// <summary>The only value of an entry.</summary>
    internal long ReadLong(string name) => ReadLongs(name) is [long value]
        ? value
        : throw new EspalierException($"{file.Source}: '{prefix}{name}' is not a single number; the file is damaged.");
}
