using Espalier.Compression;

namespace Espalier.Reproduce.Tests;

public sealed class SizeReproductionTests
{
    public static TheoryData<string> Ids => [.. SizeMethod.All([0.5]).Select(m => m.Id)];

    /// <summary>Every line has the steps that it is to have, and settings that its method knows.</summary>
    [Theory]
    [MemberData(nameof(Ids))]
    public void Every_line_has_the_same_steps(string id)
    {
        SizeMethod line = SizeMethod.All([0.5]).Single(m => m.Id == id);
        CompressionOptions options = line.Options(301, 7);
        Assert.Equal(7ul, options.Seed);
        if (line.Method is null) return;
        Assert.Equal(line.Untrained ? 0 : 301, options.TrainSteps + options.FineTuneSteps);
        var method = Assert.IsAssignableFrom<CompressionMethod>(options);
        Assert.Equal(line.Method, method.Name);
        Assert.Equal(line.Flops is not null, method.TakesTarget);
        Assert.All(line.Settings, s => Assert.Equal(s.Value, method.Settings.Single(o => o.Name == s.Key).Of(method)));
    }

    [Fact]
    public void There_are_four_searches_and_one_aware_form_at_each_share()
    {
        Assert.Equal(8, SizeMethod.All([0.7, 0.5]).Count(m => m.Method == "enc"));
        Assert.Equal(2, SizeMethod.All([0.7, 0.5]).Count(m => m.Method == "low-rank"));
        Assert.Equal(SizeMethod.All([0.5]).Count, SizeMethod.All([0.5]).Select(m => m.Id).Distinct().Count());
    }

    [Fact]
    public void The_verdict_says_what_noise_and_parts_gave()
    {
        SizeResult Row(string id, double accuracy, double bytes = 2048) => new(SizeMethod.All([]).Single(m => m.Id == id),
            [new RunRecord(accuracy, 1, 1, 1, "a")], 0.9962, bytes, 1, 1, 1);
        string said = SizeResults.Verdict("net", [Row("ptq8", 0.8), Row("qat4", 0.8), Row("noise4", 0.79), Row("ipq", 0.7),
            Row("vq", 0.5, 1024), Row("ipq-noise", 0.72)]);
        Assert.Contains("Quant-Noise at 4 bits: -1.00 points against QAT.", said);
        Assert.Contains("Quant-Noise before and in iPQ: +2.00 points against iPQ alone.", said);
        Assert.Contains("One part instead of many: 50.00 % in 1 KiB against 70.00 % in 2 KiB.", said);
        Assert.DoesNotContain("Quant-Noise at 8 bits", said);
        Assert.Contains("8 bits after training: 99.62 % of the answers stay.", said);
    }
}
