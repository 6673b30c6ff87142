using Espalier.Compression;
using Espalier.Data;
using Espalier.Training;

namespace Espalier.Reproduce.Tests;

public sealed class ComparisonTests
{
    public static TheoryData<bool, string> Lines
    {
        get
        {
            var lines = new TheoryData<bool, string>();
            foreach (ComparedMethod m in ComparedMethod.Transformers) lines.Add(true, m.Id);
            foreach (ComparedMethod m in ComparedMethod.Filters) lines.Add(false, m.Id);
            return lines;
        }
    }

    /// <summary>A fair table: one target, one number of steps, and settings that the methods know.</summary>
    [Theory]
    [MemberData(nameof(Lines))]
    public void Every_method_has_the_same_steps_and_target(bool transformer, string id)
    {
        ComparedMethod method = (transformer ? ComparedMethod.Transformers : ComparedMethod.Filters).Single(m => m.Id == id);
        CompressionMethod options = method.Options(301, 0.4, 7);
        Assert.Equal(301, options.TrainSteps + options.FineTuneSteps);
        Assert.Equal((0.4, 7ul, method.Method), (options.Selection.TargetFlops, options.Seed, options.Name));
        Assert.All(method.Settings, s => Assert.Equal(s.Value, options.Settings.Single(o => o.Name == s.Key).Of(options)));
    }

    /// <summary>Of 50 tokens all are in the first of 6 blocks, so that 0.64 of them in the others make 0.7.</summary>
    [Fact]
    public void ATS_is_told_how_many_tokens_meet_a_target()
    {
        using Model model = Model.Create("vit-tiny-28", classes: 10, imageSize: 28);
        TransformerBlocks blocks = TransformerBlocks.Of(model.Graph);
        CompressionMethod ats = CompressionMethods.Get("ats"), fitted = ShareTargets.WithCount(ats, blocks, 0.7);
        Assert.Equal("32", fitted.Settings.Single(s => s.Name == "count").Of(fitted));
        var e = Assert.Throws<EspalierException>(() => ShareTargets.WithCount(ats, blocks, 0.1));
        Assert.Contains("ats cannot leave 0.1", e.Message);
    }

    [Theory]
    [InlineData(0.7)]
    [InlineData(0.5)]
    public void Patch_Slimming_is_told_the_error_that_meets_a_target(double share)
    {
        DatasetPair data = Datasets.Open("fashion-mnist-sample", null);
        using Model model = Model.Create("vit-tiny-28", classes: 10, imageSize: 28);
        long before = model.Graph.CostPerImage.MultiplyAdds;
        ComparedMethod line = ComparedMethod.Transformers.Single(m => m.Id == "patch-slimming");
        CompressionMethod method = (line.Options(0, share, 1) with { RankBatches = 1 }).Set("tune", "1");
        ShareTargets.Run(new CompressionJob(model, TrainingData.For(model, data), method), share);
        double left = (double)model.Graph.CostPerImage.MultiplyAdds / before;
        Assert.InRange(left, 0.1, share);
    }

    [Theory]
    [InlineData(0.01)]
    [InlineData(0.0004)]
    [InlineData(3)]
    public void The_smallest_number_that_is_enough_is_found_from_either_side(double wanted)
    {
        int asked = 0;
        double? found = ShareTargets.Enough(0.01, e =>
        {
            asked++;
            return e >= wanted;
        });
        Assert.InRange(found!.Value, wanted, 1.1 * wanted);
        Assert.InRange(asked, 4, 20);
        Assert.Null(ShareTargets.Enough(0.01, _ => false));
    }

    [Fact]
    public void The_verdict_names_who_beats_random_and_scratch()
    {
        RunRecord[] Records(double accuracy) => [new(accuracy, 1, 1, 1, "a")];
        ComparedResult Row(string id, double accuracy, double? scratch = null) => new(ComparedMethod.Transformers.Single(m => m.Id == id), 0.5,
            Records(accuracy), scratch is { } s ? Records(s) : null, 1, 1);
        string said = ComparisonResults.Verdict([new ComparedResult(null, 1, Records(0.9), null, 1, 1), Row("random", 0.8, 0.7),
            Row("l1", 0.85, 0.86), Row("taylor", 0.79), Row("random-tokens", 0.7)]);
        Assert.Contains("Better than random channels (80.00 %) are L1 norm (85.00); not better: Taylor (79.00).", said);
        Assert.Contains("Better than random tokens (70.00 %) are none; not better: none.", said);
        Assert.Contains("Better than their shape trained from scratch: random channels (80.00); not better: L1 norm (85.00).",
            said);
    }

    [Fact]
    public void The_table_has_means_and_ratios()
    {
        ComparedResult whole = new(null, 1, [new(0.9, 1000, 2e6, 10, "a")], null, 100, 400);
        ComparedResult half = new(ComparedMethod.Transformers[1], 0.5, [new(0.7, 500, 1e6, 10, "b")], [new(0.6, 500, 1e6, 10, "b")], 150, 800);
        string[] lines = ComparisonResults.Table([whole, half]).Trim().Split('\n');
        Assert.Equal("| whole network, trained on | 90.00 ± 0.00 | 90.00 |  | 1.0 k (100.0 %) | 2.00 M (100.0 %) "
            + "| 100 (1.00 x) | 400 (1.00 x) |", lines[^2].Trim());
        Assert.Equal("| L1 norm | 70.00 ± 0.00 | 70.00 | 60.00 ± 0.00 | 0.5 k (50.0 %) | 1.00 M (50.0 %) "
            + "| 150 (1.50 x) | 800 (2.00 x) |", lines[^1].Trim());
        Assert.Contains(">l1</text>", ComparisonResults.Picture([whole, half]).ToString());
    }
}
