namespace Espalier.Compression;

/// <summary>
/// All methods. Each adds itself from its own folder when the library is loaded, so that a folder taken away takes its method
/// with it and breaks nothing else.
/// </summary>
public static class CompressionMethods
{
    private static readonly SortedDictionary<string, ICompressionMethod> Known = new(StringComparer.Ordinal);

    /// <summary>By name.</summary>
    public static IReadOnlyCollection<ICompressionMethod> All => Known.Values;

    /// <exception cref="EspalierException">There is no method of that name.</exception>
    public static ICompressionMethod Get(string name) => Known.TryGetValue(name, out ICompressionMethod? method) ? method
        : throw new EspalierException($"there is no method '{name}'; choose one of {string.Join(", ", Known.Keys)}");

    /// <summary>Called from a module initialiser in the method's folder.</summary>
    public static void Add(ICompressionMethod method) => Known.Add(method.Name, method);
}
