using Espalier.Compression.Methods.AdaptiveSampling;
using Espalier.Compression.Methods.Apt;
using Espalier.Compression.Methods.Calibrated;
using Espalier.Compression.Methods.ClassAttention;
using Espalier.Compression.Methods.Corp;
using Espalier.Compression.Methods.DynamicVit;
using Espalier.Compression.Methods.Ipq;
using Espalier.Compression.Methods.LowRank;
using Espalier.Compression.Methods.Magnitude;
using Espalier.Compression.Methods.NVit;
using Espalier.Compression.Methods.PatchSlimming;
using Espalier.Compression.Methods.Qat;
using Espalier.Compression.Methods.QuantNoise;
using Espalier.Compression.Methods.RandomTokens;
using Espalier.Compression.Methods.RePr;
using Espalier.Compression.Methods.Slimming;
using Espalier.Compression.Methods.SoftFilter;
using Espalier.Compression.Methods.SPVit;
using Espalier.Compression.Methods.StochasticDepth;
using Espalier.Compression.Methods.Taylor;
using Espalier.Compression.Methods.TokenMerging;
using Espalier.Compression.Methods.VitSlim;
using Espalier.Compression.Methods.Vtp;
using Espalier.Compression.Methods.WdPruning;

namespace Espalier.Compression;

/// <summary>All methods: the only place outside their own folders that names them.</summary>
public static class CompressionMethods
{
    /// <summary>Each with its usual options, by name.</summary>
    public static IReadOnlyList<CompressionMethod> All { get; } =
    [
        new Apt(), new Ats(), new BnScale(), new ClassTopK(), new Corp(), new DynamicVit(), new Enc(), new Evit(), new Fpgm(),
        new Ipq(), new L1Norm(), new L2Norm(), new LowOutputError(), new LowRank(), new LowVariance(),
        new NetworkSlimming(), new NVit(), new PatchSlimming(), new Qat(), new QuantNoise(), new RandomFilters(),
        new RandomTokens(), new RePr(),
        new SoftFilter(), new SPVit(), new StochasticDepth(), new Taylor(), new ToMe(), new VitSlim(), new Vtp(), new WdPruning(),
    ];

    /// <exception cref="EspalierException">There is no method of that name.</exception>
    public static CompressionMethod Get(string name) => All.FirstOrDefault(m => m.Name == name)
        ?? throw new EspalierException($"there is no method '{name}'{Near.Hint(name, All.Select(m => m.Name))}; choose one of "
            + string.Join(", ", All.Select(m => m.Name)));
}
