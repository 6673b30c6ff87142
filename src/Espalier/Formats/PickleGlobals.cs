using System.Text;

namespace Espalier.Formats;

/// <summary>Makes a plain value from the arguments that a pickle gives to an allowed class or function.</summary>
/// <exception cref="InvalidDataException">The arguments are not what they must be.</exception>
public delegate object? PickleRebuild(object?[] arguments);

/// <summary>
/// The closed list of names that a pickle may mention. A name stands for a constant or for a function of the reader's own;
/// nothing is ever looked up by reflection, and any other name makes the reader refuse the file.
/// </summary>
public sealed class PickleGlobals
{
    private readonly Dictionary<string, object> byName = [];

    /// <summary>Turns a persistent id (how PyTorch names a storage) into a value; without it such ids are refused.</summary>
    public Func<object?, object?>? PersistentLoad { get; init; }

    /// <summary>Allows calling a class or function; <paramref name="rebuild"/> does the work.</summary>
    public PickleGlobals Add(string module, string name, PickleRebuild rebuild)
    {
        byName[$"{module}.{name}"] = new PickleGlobal($"{module}.{name}", rebuild);
        return this;
    }

    /// <summary>Allows calling it; the result is a <see cref="PickleObject"/> that only keeps what it was given.</summary>
    public PickleGlobals AddInert(string module, string name) =>
        Add(module, name, arguments => new PickleObject($"{module}.{name}", arguments));

    /// <summary>Allows mentioning it as a value.</summary>
    public PickleGlobals AddConstant(string module, string name, object value)
    {
        byName[$"{module}.{name}"] = value;
        return this;
    }

    /// <summary>Of which further classes, by module and name, objects are only kept, as those of <see cref="AddInert"/>; null for
    /// none.</summary>
    public Func<string, bool>? IsInert { get; init; }

    /// <summary>The same with other classes whose objects are only kept.</summary>
    internal PickleGlobals With(Func<string, bool> isInert) => Copied(isInert, PersistentLoad);

    /// <summary>The same that tells what persistent ids became.</summary>
    internal PickleGlobals Watched(Action<object?> loaded) => Copied(IsInert, PersistentLoad is not { } load ? null : id =>
    {
        object? value = load(id);
        loaded(value);
        return value;
    });

    /// <summary>The same with other persistent ids.</summary>
    internal PickleGlobals Loading(Func<object?, object?> load) => Copied(IsInert, load);

    private PickleGlobals Copied(Func<string, bool>? isInert, Func<object?, object?>? load)
    {
        var other = new PickleGlobals { PersistentLoad = load, IsInert = isInert };
        foreach (var (name, value) in byName) other.byName.Add(name, value);
        return other;
    }

    internal bool TryGet(string fullName, out object? value)
    {
        if (byName.TryGetValue(fullName, out value)) return true;
        bool inert = IsInert?.Invoke(fullName) == true;
        if (inert) value = new PickleGlobal(fullName, arguments => new PickleObject(fullName, arguments));
        return inert;
    }
}

/// <summary>An allowed function as a value in a pickle.</summary>
internal sealed record PickleGlobal(string Name, PickleRebuild Rebuild);

/// <summary>An object that was not rebuilt, only kept: its class, its arguments and the state given to it afterwards.</summary>
public sealed class PickleObject(string global, object?[] arguments) : IPickleState
{
    /// <summary>Module and name, as in <c>argparse.Namespace</c>.</summary>
    public string Global { get; } = global;

    public IReadOnlyList<object?> Arguments { get; } = arguments;

    public object? State { get; private set; }

    void IPickleState.SetState(object? state) => State = state;
}

/// <summary>A rebuilt value that takes a state (what Python's <c>__setstate__</c> gets).</summary>
public interface IPickleState
{
    /// <exception cref="InvalidDataException">The state is not what it must be.</exception>
    void SetState(object? state);
}

/// <summary>A pickled dictionary, in insertion order. Keys that were bytes are Latin-1 strings, as Python 2 meant them.</summary>
public sealed class PickleDictionary
{
    private const int MaxKeyLength = 1024;

    private readonly OrderedDictionary<object, object?> items = new(KeyComparer.Instance);

    public IEnumerable<KeyValuePair<object, object?>> Items => items;

    public int Count => items.Count;

    /// <summary>The value of a string key, or null.</summary>
    public object? this[string key] => items.GetValueOrDefault(key);

    internal void Set(object? key, object? value)
    {
        if (key is string { Length: > MaxKeyLength } or byte[] { Length: > MaxKeyLength })
            throw new InvalidDataException($"the pickle has a key of more than {MaxKeyLength} characters");
        items[key is byte[] bytes ? Encoding.Latin1.GetString(bytes) : key ?? DBNull.Value] = value;
    }

    /// <summary>Hashes numbers with a seed of the process, so that no file can make all its keys collide.</summary>
    private sealed class KeyComparer : IEqualityComparer<object>
    {
        public static readonly KeyComparer Instance = new();

        bool IEqualityComparer<object>.Equals(object? x, object? y) => object.Equals(x, y);

        public int GetHashCode(object key) => key switch
        {
            long number => HashCode.Combine((int)number, (int)(number >> 32)),
            double number => GetHashCode(BitConverter.DoubleToInt64Bits(number)),
            _ => key.GetHashCode(),    // strings and large integers have a seed already
        };
    }
}
