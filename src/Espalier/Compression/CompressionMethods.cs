using Espalier.Compression.Methods.Apt;
using Espalier.Compression.Methods.Magnitude;
using Espalier.Compression.Methods.RePr;
using Espalier.Compression.Methods.Slimming;
using Espalier.Compression.Methods.SoftFilter;
using Espalier.Compression.Methods.StochasticDepth;
using Espalier.Compression.Methods.Taylor;

namespace Espalier.Compression;

/// <summary>All methods: the only place outside their own folders that names them.</summary>
public static class CompressionMethods
{
    /// <summary>Each with its usual options, by name.</summary>
    public static IReadOnlyList<CompressionMethod> All { get; } =
    [
        new Apt(), new BnScale(), new Fpgm(), new L1Norm(), new L2Norm(), new NetworkSlimming(), new RandomFilters(), new RePr(),
        new SoftFilter(), new StochasticDepth(), new Taylor(),
    ];

    /// <exception cref="EspalierException">There is no method of that name.</exception>
    public static CompressionMethod Get(string name) => All.FirstOrDefault(m => m.Name == name)
        ?? throw new EspalierException($"there is no method '{name}'{Near.Hint(name, All.Select(m => m.Name))}; choose one of "
            + string.Join(", ", All.Select(m => m.Name)));
}
