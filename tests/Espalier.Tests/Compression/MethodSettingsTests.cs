using System.Reflection;
using Espalier.Compression;
using Espalier.Models;

namespace Espalier.Tests.Compression;

/// <summary>The options of methods as the command line has them.</summary>
public sealed class MethodSettingsTests
{
    public static TheoryData<string> Names => [.. CompressionMethods.All.Select(m => m.Name)];

    /// <summary>Each is a property of the method's own class or of one that some methods share, and its text and its value say
    /// the same.</summary>
    [Theory]
    [MemberData(nameof(Names))]
    public void EachSettingIsAProperty(string name)
    {
        CompressionMethod method = CompressionMethods.Get(name);
        foreach (MethodSetting setting in method.Settings)
        {
            PropertyInfo property = method.GetType().GetProperty(setting.Property)!;
            Assert.True(IsOwn(property));
            Assert.Equal(setting.Usual, setting.Of(method));
            Assert.Equal(method, method.Set(setting.Name, setting.Usual));
            Assert.Contains($"{setting.Name}=?: it is {setting.Allowed}",
                Assert.Throws<EspalierException>(() => method.Set(setting.Name, "?")).Message);
        }
        Assert.Equal(method.GetType().GetProperties().Where(p => p.SetMethod is not null && IsOwn(p)).Select(p => p.Name).Order(),
            method.Settings.Select(s => s.Property).Order());

        static bool IsOwn(PropertyInfo property) => property.DeclaringType!.IsSubclassOf(typeof(CompressionMethod));
    }

    /// <summary>What `compress --list` shows; scripts use these names.</summary>
    [Theory]
    [InlineData("l1", "")]
    [InlineData("ipq", "parts=blocks entries=256 kernels=1 pointwise=4 linear=8 rounds=15 stages=3 gradient=mean noise=0")]
    [InlineData("qat", "bits=8 value-bits=8 scales=channel observer=moving-average momentum=0.01 weights=min-max every=1 "
        + "norms=unfolded images=128")]
    [InlineData("quant-noise", "kind=integers share=usual bits=8 value-bits=8 scales=channel observer=histogram values=floats "
        + "every=100 block=8 entries=256 images=128")]
    [InlineData("network-slimming", "lambda=0.0001 scope=global initial-scale=0")]
    [InlineData("nvit", "every=100 chunks=0 eta=0.0005 momentum=0.9 shape=scores")]
    [InlineData("repr", "first=0 thin=0 cycles=3 drop=0.3 rank=fan-in alpha=0.5 exclude-first=no length=survivors relax=no "
        + "readers=random boost=1 branches=no reverse=no end=thin")]
    [InlineData("soft-filter", "every=0 norm=2 reset-momentum=no scatter=yes asymptotic=no")]
    [InlineData("stochastic-depth", "survival=0.8 rule=linear granularity=batch scaling=inference freeze-skipped=no remove=target "
        + "criterion=loss")]
    [InlineData("tome", "merge=target inflection=0 proportional=yes")]
    [InlineData("evit", "keep=target blocks=quarters fuse=yes")]
    [InlineData("topk", "keep=target blocks=quarters")]
    [InlineData("ats", "count=197 blocks=usual")]
    [InlineData("random-tokens", "keep=target blocks=quarters")]
    [InlineData("patch-slimming", "epsilon=0.01 step=10 tune=50 rate=1E-05 same-head=no")]
    [InlineData("taylor", "variant=paper per-round=0 flops-lambda=0")]
    [InlineData("corp", "images=256 query-keys=exact")]
    [InlineData("spvit", "lambda=30 rate=0.001 initial=1.5 temperature=0.01 add-norm=no restart=no")]
    [InlineData("wdpruning", "exits=usual initial=4 rate=0.0025 multiplier-rate=10")]
    public void NamesAndUsualValues(string method, string settings) => Assert.Equal(settings,
        string.Join(' ', CompressionMethods.Get(method).Settings.Select(s => $"{s.Name}={s.Usual}")));

    [Theory]
    [InlineData("soft-filter", "norm", "1", "0", "a whole number from 1 to 2")]
    [InlineData("soft-filter", "scatter", "no", "true", "one of yes, no")]
    [InlineData("repr", "drop", "0.25", "0,25", "a number from 0.001 to 0.9")]
    [InlineData("repr", "rank", "layer", "Layer", "one of fan-in, global, layer")]
    [InlineData("network-slimming", "lambda", "0.00001", "Infinity", "a number of at least 0")]
    [InlineData("tome", "merge", "13", "-1", "target or a whole number of at least 0")]
    [InlineData("evit", "keep", "0.7", "1.1", "target or a number above 0, at most 1")]
    [InlineData("stochastic-depth", "remove", "3", "-1", "a number of blocks, or target")]
    public void TextsAreReadOrRefused(string name, string setting, string right, string wrong, string allowed)
    {
        CompressionMethod method = CompressionMethods.Get(name), set = method.Set(setting, right);
        Assert.NotEqual(method, set);
        Assert.Equal(double.TryParse(right, out double number) ? number.ToString() : right,
            set.Settings.Single(s => s.Name == setting).Of(set));
        Assert.Equal($"{setting}={wrong}: it is {allowed}",
            Assert.Throws<EspalierException>(() => method.Set(setting, wrong)).Message);
    }

    [Fact]
    public void AnUnknownSettingIsRefusedWithTheKnownOnes()
    {
        foreach (var (method, expected) in ((string, string)[])[("taylor", "variant"), ("l1", "no settings")])
        {
            Assert.Contains(expected,
                Assert.Throws<EspalierException>(() => CompressionMethods.Get(method).Set("magic", "1")).Message);
        }
    }

    /// <summary>Half of the multiply-adds stay where nothing is said, and only there.</summary>
    [Fact]
    public void TheUsualTargetGivesWayToAnyOther()
    {
        CompressionMethod method = CompressionMethods.Get("l1");
        Assert.Equal(0.5, method.TargetFlops);
        Assert.Null((method with { Ratio = 0.3 }).TargetFlops);
        Assert.Equal(0.3, (method with { Ratio = 0.3 }).Selection.Ratio!.OfAll);
        Assert.Null((method with { TargetLatency = 3 }).Selection.TargetFlops);
        Assert.Equal(0.4, (method with { TargetFlops = 0.4 }).Selection.Checked().TargetFlops);
    }

    [Fact]
    public void AJobWithoutAMethodCannotRunOne()
    {
        using Cnn net = CompressionJobs.Net("cifar-vgg11");
        Assert.Throws<InvalidOperationException>(CompressionJobs.Job(net, new CompressionOptions()).Run);
    }
}
