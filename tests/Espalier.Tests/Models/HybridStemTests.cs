using Espalier.Formats;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Models;

public class HybridStemTests
{
    [Fact]
    public void TheFullStemHasThePublishedNumberOfParameters()
    {
        var rng = new Rng(1);
        using var stem = new HybridStem(HybridStemVariant.Google, 3, ref rng);
        Assert.Equal(11_894_848, stem.ParameterCount);
        Assert.Equal(1024, stem.OutputChannels);
        string[] names = [.. stem.NamedParameters().Select(p => p.Name)];
        Assert.Equal(names.Length, names.Distinct().Count());
        Assert.Equal(9, names.Count(n => n.StartsWith("body.block3.unit9.", StringComparison.Ordinal)));
        foreach (string name in (string[])["root.conv.weight", "root.gn.bias", "body.block1.unit1.downsample.weight",
            "body.block1.unit1.gn_proj.weight", "body.block2.unit4.conv2.weight", "body.block3.unit9.gn3.bias"])
            Assert.Contains(name, names);
        Assert.DoesNotContain("body.block1.unit2.downsample.weight", names);
    }

    // The Torch variant's unpadded pool makes 55 of 112, and its padded strides 28 and 14 again.
    [Theory]
    [InlineData(HybridStemVariant.Google, 224, 14)]
    [InlineData(HybridStemVariant.Torch, 224, 14)]
    [InlineData(HybridStemVariant.Google, 64, 4)]
    [InlineData(HybridStemVariant.Google, 60, 4)]
    public void ImagesShrinkSixteenfold(HybridStemVariant variant, int size, int grid)
    {
        using var scope = new Scope();
        var rng = new Rng(1);
        using var stem = new HybridStem(variant, 3, ref rng, width: 8, groups: 4);
        Assert.Equal(new Shape(1, 128, grid, grid), stem.Forward(Tensor.Zeros(new Shape(1, 3, size, size))).Shape);
    }

    [Fact]
    public void FullWidthGivesTheMapThatTheTransformerExpects()
    {
        using var scope = new Scope();
        var rng = new Rng(1);
        using var stem = new HybridStem(HybridStemVariant.Google, 3, ref rng);
        using var recording = new Recording(gradients: false);
        Assert.Equal(new Shape(1, 1024, 14, 14), stem.Forward(Tensor.Full(new Shape(1, 3, 224, 224), 0.5f)).Shape);
        // All of R50+B/16 without the 1 x 1 patch projection, the blocks and the head.
        long rest = 196L * 1024 * 768 + 12 * (12L * 197 * 768 * 768 + 2L * 197 * 197 * 768) + 768 * 1000;
        Assert.Equal(21.5354, (recording.Cost.MultiplyAdds + rest) / 1e9, 1e-4);
    }

    [Theory]
    [InlineData(HybridStemVariant.Google)]
    [InlineData(HybridStemVariant.Torch)]
    public void MatchesPyTorch(HybridStemVariant variant)
    {
        using var scope = new Scope();
        string file = Path.Combine(AppContext.BaseDirectory, "Goldens", "Hybrid", "hybrid.safetensors");
        Checkpoint golden = CheckpointFile.Read(file);
        var rng = new Rng(1);
        using var stem = new HybridStem(variant, 3, ref rng, width: 4, depths: [1, 2, 1], groups: 2);
        (string Name, Tensor Value)[] parameters = [.. stem.NamedParameters()];
        Assert.Equal(golden.Arrays.Keys.Count(k => k.StartsWith("param/", StringComparison.Ordinal)), parameters.Length);
        foreach (var (name, value) in parameters) value.CopyFrom(Load("param/" + name));

        using var recording = new Recording();
        Tensor y = stem.Forward(Load("x"));
        Close($"{variant}/y", y);
        recording.Backward(y, Load($"{variant}/dy"));
        foreach (string key in golden.Arrays.Keys.Where(k => k.StartsWith($"{variant}/grad/", StringComparison.Ordinal)))
            Close(key, parameters.Single(p => key.EndsWith("/" + p.Name, StringComparison.Ordinal)).Value.Grad!);

        Tensor Load(string key) => Tensor.From(new Shape(golden[key].Shape), golden[key].Data);

        void Close(string key, Tensor actual)
        {
            Assert.Equal(new Shape(golden[key].Shape), actual.Shape);
            float scale = golden[key].Data.Max(MathF.Abs);
            foreach (var (expected, value) in golden[key].Data.Zip(actual.ToArray()))
                Assert.True(MathF.Abs(expected - value) <= 2e-5f * scale, $"{key}: {value} instead of {expected}");
        }
    }
}
