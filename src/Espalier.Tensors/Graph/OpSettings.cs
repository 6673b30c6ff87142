using System.Collections;

namespace Espalier.Tensors;

/// <summary>
/// What an op is besides its operands, by name: whole numbers, floats, truth values, words and lists of numbers. It is what a
/// graph's file holds of a node.
/// </summary>
public sealed class OpSettings : IEnumerable<KeyValuePair<string, object>>
{
    private readonly OrderedDictionary<string, object> values = [];
    private ulong read;

    public int Count => values.Count;

    public OpSettings Set(string name, int value) => Put(name, (long)value);

    public OpSettings Set(string name, float value) => Put(name, value);

    public OpSettings Set(string name, bool value) => Put(name, value);

    public OpSettings Set(string name, string value) => Put(name, value);

    public OpSettings Set<T>(string name, T value) where T : struct, Enum => Put(name, value.ToString());

    public OpSettings Set(string name, IEnumerable<int> values) => Put(name, values.Select(v => (long)v).ToArray());

    public OpSettings Set(string name, IEnumerable<float> values) => Put(name, values.ToArray());

    /// <summary>A padding as top, bottom, left, right.</summary>
    public OpSettings Set(string name, Padding p) => Set(name, [p.Top, p.Bottom, p.Left, p.Right]);

    /// <summary>Strides as one number where rows and columns have the same, else as two.</summary>
    public OpSettings Set(string name, Strides s) => s.Rows == s.Columns ? Set(name, s.Rows) : Set(name, [s.Rows, s.Columns]);

    /// <summary>Of a file: a long, float, bool, string, long[] or float[].</summary>
    internal OpSettings Put(string name, object value)
    {
        if (!values.TryAdd(name, value)) throw new ArgumentException($"the setting '{name}' is there twice");
        return this;
    }

    public bool Has(string name) => values.ContainsKey(name);

    /// <summary>A setting that nobody has asked for; null where all have been.</summary>
    internal string? Unread => values.Keys.Where((_, i) => i >= 64 || (read >> i & 1) == 0).FirstOrDefault();

    public int Int(string name) => Get<long>(name) is var v && v is >= int.MinValue and <= int.MaxValue ? (int)v
        : throw new ArgumentException($"the setting '{name}' is {v}, too large a number");

    /// <summary>A float; a whole number counts as one.</summary>
    public float Float(string name) => values.GetValueOrDefault(name) is long ? Get<long>(name) : Get<float>(name);

    public bool Bool(string name) => Get<bool>(name);

    public string Text(string name) => Get<string>(name);

    public T Word<T>(string name) where T : struct, Enum =>
        Enum.TryParse(Text(name), out T value) && Enum.IsDefined(value) && value.ToString() == Text(name) ? value
            : throw new ArgumentException($"the setting '{name}' is '{Text(name)}', not one of {string.Join(", ", Enum.GetNames<T>())}");

    public int[] Ints(string name) => Array.ConvertAll(Get<long[]>(name), v => v is >= int.MinValue and <= int.MaxValue ? (int)v
        : throw new ArgumentException($"the setting '{name}' holds {v}, too large a number"));

    /// <summary>Floats; a list of whole numbers counts as them.</summary>
    public float[] Floats(string name) => values.GetValueOrDefault(name) is long[]
        ? Array.ConvertAll(Get<long[]>(name), v => (float)v) : [.. Get<float[]>(name)];

    public Padding Padding(string name) => Ints(name) is [var top, var bottom, var left, var right]
        ? new Padding(top, bottom, left, right) : throw new ArgumentException($"the setting '{name}' is not four numbers");

    public Strides Strides(string name) => values.GetValueOrDefault(name) is not long[] ? Int(name)
        : Ints(name) is [var rows, var columns] ? new Strides(rows, columns)
            : throw new ArgumentException($"the setting '{name}' is neither one number nor two");

    public IEnumerator<KeyValuePair<string, object>> GetEnumerator() => values.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    private T Get<T>(string name)
    {
        int at = values.IndexOf(name);
        if (at < 0) throw new ArgumentException($"the setting '{name}' is missing");
        if (at < 64) read |= 1UL << at;
        return values.GetAt(at).Value is T wanted ? wanted
            : throw new ArgumentException($"the setting '{name}' is of another kind");
    }
}
