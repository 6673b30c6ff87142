using Espalier.Compression;
using Espalier.Reporting;

namespace Espalier.Tests.Reporting;

/// <summary>Reports of invented numbers, shaped like those of real runs.</summary>
internal static class SampleCompression
{
    public static CompressionReport Report(string name = "layer") => new()
    {
        Method = "taylor", Purpose = "removes channels", Network = "cifar-vgg16", Dataset = "fashion-mnist, 10000 test images", Seed = 7,
        Machine = "a processor, 2 threads", CommandLine = "espalier compress taylor --ratio 0.5", Version = "espalier 0",
        Options = new Dictionary<string, string> { ["ratio"] = "0.5", ["teacher"] = "none" },
        Before = new ModelNumbers(1_000_000, 2e7, 0.91, 4_000_000, 4), After = new ModelNumbers(250_000, 5e6, 0.9, 1_000_000, 1.6),
        Groups = [.. Enumerable.Range(0, 12).Select(i => new CompressedGroup($"{name}.{i}", [$"{name}.{i}", "norm"], 64, 64 - 5 * i))],
        Selections = [new SelectionRecord([.. Enumerable.Range(0, 12).Select(i => Scored($"{name}.{i}", 64, 5 * i))])],
        Stages = [Stage("train", 200, 0.91), Stage("fine-tune", 100, 0.9)],
    };

    public static SensitivityReport Sensitivity(string name = "layer") => new()
    {
        Method = "l1", Network = "cifar-vgg16", Dataset = "fashion-mnist, 1000 test images", Machine = "a processor, 2 threads",
        Result = new SensitivityResult(0.9, 0.01, [.. Enumerable.Range(0, 6).Select(i => new GroupSensitivity($"{name}.{i}", 50,
            [.. Enumerable.Range(1, 9).Select(r => new SensitivityPoint(r / 10.0, 5 * r, r <= i ? 0.895 : 0.9 - 0.09 * r))], i / 10.0))],
            20_000_000, 15_000_000, 0.85),
    };

    private static ScoredGroup Scored(string name, int count, int removed) => new(name,
        [.. Enumerable.Range(0, count).Select(k => (k * 37 % count) / (float)count)],
        [.. Enumerable.Range(0, count).OrderBy(k => k * 37 % count).Take(removed).Order()]);

    private static StageRecord Stage(string name, long steps, double accuracy) => new(name, steps,
        [.. Enumerable.Range(1, (int)steps / 10).Select(i => new LossPoint(10 * i, 2.3 / i))], accuracy);
}
