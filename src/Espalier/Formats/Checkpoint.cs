namespace Espalier.Formats;

/// <summary>A named, dense, row-major array of floats, as a checkpoint file holds it.</summary>
public sealed class NamedArray
{
    /// <param name="name">The key in the file.</param>
    /// <param name="shape">Dimensions; empty for a scalar.</param>
    /// <param name="data">Row-major elements, as many as the shape has.</param>
    public NamedArray(string name, int[] shape, float[] data)
    {
        long count = ArrayShape.Count(shape);
        if (count != data.Length)
            throw new ArgumentException($"'{name}' [{string.Join(", ", shape)}] has {count} elements, not {data.Length}");
        (Name, Shape, Data) = (name, shape, data);
    }

    public string Name { get; }

    public int[] Shape { get; }

    public float[] Data { get; }

    public override string ToString() => $"{Name} [{string.Join(", ", Shape)}]";
}

/// <summary>The arrays of one checkpoint file, in the file's order, and its string metadata.</summary>
public sealed class Checkpoint
{
    private readonly OrderedDictionary<string, NamedArray> arrays = [];

    /// <exception cref="ArgumentException">Two arrays have the same name.</exception>
    public Checkpoint(IEnumerable<NamedArray> arrays, IReadOnlyDictionary<string, string>? metadata = null, string source = "")
    {
        foreach (NamedArray array in arrays)
            if (!this.arrays.TryAdd(array.Name, array)) throw new ArgumentException($"two arrays are named '{array.Name}'");
        Metadata = metadata ?? new Dictionary<string, string>();
        Source = source;
    }

    public IReadOnlyDictionary<string, NamedArray> Arrays => arrays;

    /// <summary>The strings of a safetensors file's <c>__metadata__</c>; empty for the other formats.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>The file it was read from, for messages.</summary>
    public string Source { get; }

    /// <summary>Which weights these are, where the file has several; else null.</summary>
    public string? Note { get; init; }

    /// <summary>The array of that name.</summary>
    /// <exception cref="EspalierException">There is none.</exception>
    public NamedArray this[string name] => arrays.TryGetValue(name, out NamedArray? array)
        ? array
        : throw new EspalierException($"{Source}: has no array '{name}'; is it a checkpoint of another model?");
}
