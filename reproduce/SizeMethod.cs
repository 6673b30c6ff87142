using Espalier.Compression;
using Espalier.Quantization;

namespace Espalier.Reproduce;

/// <summary>One line of the table of smaller numbers: a way to store or split weights.</summary>
/// <param name="Id">A name for files.</param>
/// <param name="Name">As the table has it.</param>
/// <param name="Method">As `compress` has it; null for rounding after training, and for training on.</param>
internal sealed record SizeMethod(string Id, string Name, string? Method)
{
    /// <summary>The ids that are held against each other in words.</summary>
    public const string Whole = "whole", Product = "ipq", Vector = "vq", Noised = "ipq-noise", Unfitted = "pq";

    /// <summary>Share of the multiply-adds to keep; null where none go.</summary>
    public double? Flops { get; init; }

    /// <summary>The part of the steps that are in the method; the others come after it.</summary>
    public double TrainShare { get; init; }

    /// <summary>Whether it has no training at all.</summary>
    public bool Untrained { get; init; }

    public IReadOnlyDictionary<string, string> Settings { get; init; } = new Dictionary<string, string>();

    /// <summary>Of rounding after training.</summary>
    public PostTrainingOptions? Rounding { get; init; }

    /// <summary>All lines with low rank at some shares of the multiply-adds.</summary>
    public static IReadOnlyList<SizeMethod> All(IReadOnlyList<double> flops) =>
    [
        new(Whole, "floats, trained on", null),
        .. from share in flops from search in new[] { "uniform", "map", "model", "inf" }
           select new SizeMethod(FormattableString.Invariant($"enc-{search}-{share:0.##}"),
               FormattableString.Invariant($"ENC, {search}, {share:0.##} of MACs"), "enc")
           {
               Flops = share, Untrained = true,
               Settings = new Dictionary<string, string> { ["search"] = search, ["timed"] = "no" },
           },
        .. flops.Select(share => new SizeMethod(FormattableString.Invariant($"low-rank-{share:0.##}"),
            FormattableString.Invariant($"low rank by activations, {share:0.##} of MACs"), "low-rank")
        {
            Flops = share, Untrained = true, Settings = new Dictionary<string, string> { ["timed"] = "no" },
        }),
        .. from bits in new[] { 8, 4 } from line in OfBits(bits) select line,
        Codes(Unfitted, "product quantisation, no training") with { Untrained = true },
        Codes(Product, "iPQ"),
        Codes(Noised, "iPQ with Quant-Noise", ("noise", "0.1")) with { TrainShare = 0.5 },
        Codes(Vector, "vector quantisation: one part", ("parts", "one")),
    ];

    private static IEnumerable<SizeMethod> OfBits(int bits)
    {
        var told = new Dictionary<string, string> { ["bits"] = $"{bits}" };
        yield return new($"ptq{bits}", $"{bits} bits after training", null)
        {
            Untrained = true, Rounding = new PostTrainingOptions { WeightBits = bits, SecondMoments = bits < 8 },
        };
        yield return new($"qat{bits}", $"QAT, {bits} bits", "qat") { TrainShare = 1, Settings = told };
        yield return new($"noise{bits}", $"Quant-Noise, {bits} bits", "quant-noise") { TrainShare = 1, Settings = told };
    }

    private static SizeMethod Codes(string id, string name, params (string Name, string Value)[] settings) => new(id, name, "ipq")
    {
        Settings = settings.ToDictionary(s => s.Name, s => s.Value),
    };

    /// <summary>What the line does with so many steps.</summary>
    public CompressionOptions Options(long steps, ulong seed)
    {
        if (Method is null) return new CompressionOptions { Seed = seed };
        CompressionMethod method = Settings.Aggregate(CompressionMethods.Get(Method), (m, s) => m.Set(s.Key, s.Value));
        long all = Untrained ? 0 : steps, before = (long)(all * TrainShare);
        method = method with { TrainSteps = before, FineTuneSteps = all - before, Seed = seed };
        return Flops is null ? method : method with { TargetFlops = Flops };
    }

    /// <summary>Does it to a job's model.</summary>
    public void Run(CompressionJob job, long steps)
    {
        if (Method is not null) job.Run();
        else if (Rounding is null) job.Train("train on", steps);
        else PostTraining.Run(job.Model.Graph, job.CalibrationBatches(128), Rounding);
    }
}
