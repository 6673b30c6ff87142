using Espalier.Data;
using Espalier.Reporting;

namespace Espalier.Tests.Reporting;

/// <summary>A report with every section, of numbers that are invented but shaped like those of a real run.</summary>
internal static class SampleReport
{
    private const int Grid = 7, Tokens = Grid * Grid + 1, Steps = 2000;

    public static ReportData Full()
    {
        var random = new Random(7);
        return new ReportData
        {
            Title = "Pruned APT against the plain vision transformer",
            Subtitle = "fashion-mnist, 10,000 test images · ViT with 12 layers of width 64, 4 x 4 patches · 2 cores",
            CommandLine = "espalier train --data fashion-mnist --method apt --steps 2000 --batch-size 72 --report report.html",
            Version = "espalier 0.1.0",
            Rows =
            [
                new("ViT", 0.9093, 0.2641, 31.42e6, 1_213, [50, 50, 50, 50]),
                new("APT, unpruned", 0.9121, 0.2583, 32.06e6, 1_184, [50, 50, 50, 50]),
                new("APT, threshold 0.5", 0.9117, 0.2602, 19.78e6, 1_871, [50, 36.4, 25.1, 17.8], Highlight: true),
                new("DynamicViT, keep ratio 0.7", 0.9034, 0.2841, 20.41e6, 1_790, [50, 35, 25, 18]),
                new("Random tokens", 0.8712, 0.3705, 19.78e6, 1_902, [50, 36, 25, 18]),
            ],
            TradeOff =
            [
                new(0.3, 0.8841, 0.421), new(0.4, 0.9043, 0.517), new(0.45, 0.9090, 0.571), new(0.5, 0.9117, 0.630),
                new(0.6, 0.9122, 0.741), new(0.7, 0.9121, 0.832), new(0.9, 0.9120, 0.961),
            ],
            Curves =
            [
                Noisy("ViT", "Loss", 2.3, 0.24, 0.10, random), Noisy("APT, backbone", "Loss", 2.31, 0.22, 0.12, random),
                Evaluated("ViT", 0.52, 0.909, random), Evaluated("APT, unpruned", 0.48, 0.912, random),
                Evaluated("APT, pruned", 0.41, 0.9117, random),
                Left("after layer 2", 36.4), Left("after layer 5", 25.1), Left("after layer 8", 17.8),
                new("APT", "Share of the multiply-adds",
                    [.. Range(20).Select(i => new CurvePoint(i * 100, 1 - 0.37 * (1 - Math.Exp(-i / 5.0))))],
                    ValueFormat.Percent),
            ],
            Tokens =
            [
                Layer("after layer 2", 36.4, random), Layer("after layer 5", 25.1, random), Layer("after layer 8", 17.8, random),
            ],
            Gallery = [.. Range(8).Select(Pruned)],
        };
    }

    private static IEnumerable<int> Range(int count) => Enumerable.Range(0, count);

    private static Curve Noisy(string name, string panel, double start, double end, double noise, Random random) =>
        new(name, panel, [.. Range(Steps).Select(i => new CurvePoint(i + 1, end + (start - end) * Math.Exp(-i / 180.0)
            + noise * (random.NextDouble() - 0.4) * (1 + Math.Exp(-i / 300.0))))]);

    private static Curve Evaluated(string name, double start, double end, Random random) => new(name, "Accuracy",
        [.. Range(20).Select(i => new CurvePoint((i + 1) * 100,
            end - (end - start) * Math.Exp(-i / 2.5) - 0.004 * random.NextDouble()))], ValueFormat.Percent);

    private static Curve Left(string name, double end) => new(name, "Tokens left",
        [.. Range(20).Select(i => new CurvePoint((i + 1) * 100, end + (Tokens - end) * Math.Exp(-i / 4.0)))]);

    private static TokenHistogram Layer(string name, double mean, Random random) => new(name, [.. Range(1000).Select(_ =>
        Math.Clamp((int)Math.Round(mean + 14 * (random.NextDouble() + random.NextDouble() + random.NextDouble() - 1.5)),
            1, Tokens))], Tokens);

    /// <summary>An image of the embedded sample; the darkest patches go first.</summary>
    private static GalleryItem Pruned(int index)
    {
        var data = FashionMnist.OpenSample().Test;
        var image = data.ReadImage(index);
        int side = 28 / Grid;
        int[] brightest = [.. Range(Grid * Grid).OrderByDescending(patch => Range(side * side).Sum(p =>
            image.Pixels[(patch / Grid * side + p / side) * 28 + patch % Grid * side + p % side])).Select(patch => patch + 1)];
        TokenStage Stage(string name, int kept) => new(name, [0, .. brightest.Take(kept).Order()]);
        string label = data.ClassNames[data.Label(index)];
        return new GalleryItem(image, Grid, [Stage("after layer 2", 34 - index), Stage("after layer 5", 26 - index),
            Stage("after layer 8", 18 - index)], label, index == 6 ? "Pullover" : label);
    }
}
