using Espalier.Benchmarking;

namespace Espalier.Cli.Running;

/// <summary>What was measured of one configuration.</summary>
/// <param name="Samples">Nanoseconds of each call.</param>
/// <param name="MultiplyAdds">Mean an image and call; null where nobody has counted them.</param>
/// <param name="Tokens">Mean tokens that enter block 0, then those left after each agent.</param>
/// <param name="PeakBytes">The resident set's high-water mark during the calls.</param>
/// <param name="AllocatedBytes">On the managed heap, a call.</param>
/// <param name="PeakGflops">What this number of threads reaches with multiply-adds on registers alone.</param>
/// <param name="ForwardNanoseconds">Of a training step: the median of an unpruned forward pass of the same batch.</param>
internal sealed record BenchResult(BenchCase Case, long[] Samples, double? MultiplyAdds, double[] Tokens, long PeakBytes,
    long AllocatedBytes, double PeakGflops, double? ForwardNanoseconds)
{
    public SampleStatistics Time { get; } = SampleStatistics.Of(Samples);

    public double ImagesPerSecond => Case.BatchSize * 1e9 / Time.Mean;

    /// <summary>A multiply-add is two operations.</summary>
    public double? Gflops => 2 * MultiplyAdds * Case.BatchSize / Time.Mean;

    public double? PeakShare => Gflops / PeakGflops;

    /// <summary>How many unpruned forward passes take as long as the step.</summary>
    public double? ForwardEquivalents => Time.P50 / ForwardNanoseconds;
}

/// <summary>Everything that `bench` writes.</summary>
/// <param name="Model">The checkpoint's or the preset's name.</param>
/// <param name="RandomAgents">Whether the agents know nothing: then the number of tokens counts, not which.</param>
/// <param name="Images">Where they are from.</param>
/// <param name="Peak">GFLOP/s by number of threads.</param>
internal sealed record BenchReport(MachineInfo Machine, string Model, long Parameters, double DenseMultiplyAdds, int ImageSize,
    IReadOnlyList<int> PruneLayers, bool RandomAgents, string Images, IReadOnlyDictionary<int, double> Peak,
    IReadOnlyList<BenchResult> Results);
