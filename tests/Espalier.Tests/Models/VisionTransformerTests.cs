using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Models;

public sealed class VisionTransformerTests
{
    [Theory]
    [InlineData("ViT-Ti_16", 5_717_416, 1.2537)]
    [InlineData("ViT-S_16", 22_050_664, 4.5989)]
    [InlineData("ViT-B_16", 86_567_656, 17.5638)]
    [InlineData("ViT-B_32", 88_224_232, 4.4092)]
    [InlineData("ViT-L_16", 304_326_632, 61.5547)]
    [InlineData("ViT-L_32", 306_535_400, 15.3775)]
    [InlineData("ViT-H_14", 632_045_800, 167.2951)]
    [InlineData("R50-ViT-B_16", 98_659_112, 21.5354)]
    public void Published_sizes(string name, long parameters, double gigaMacs)
    {
        using InitSkip _ = Init.ShapesOnly();
        using var vit = new VisionTransformer(VitPresets.Get(name));
        Assert.Equal(parameters, vit.ParameterCount);
        Assert.Equal(gigaMacs, vit.CountMultiplyAdds() / 1e9, 4);
    }

    [Theory]
    [InlineData("DeiT-Ti_16-distilled", 5_910_800)]
    [InlineData("DeiT-S_16-distilled", 22_436_432)]
    [InlineData("DeiT-B_16-distilled", 87_338_192)]
    public void Published_sizes_of_distilled_models(string name, long parameters)
    {
        using InitSkip _ = Init.ShapesOnly();
        using var vit = new VisionTransformer(VitPresets.Get(name));
        Assert.Equal(parameters, vit.ParameterCount);
    }

    [Theory]
    [InlineData("vit-small-28")]
    [InlineData("ViT-Ti_16")]
    [InlineData("DeiT-Ti_16-distilled")]
    public void The_counted_costs_are_those_of_the_ops_that_run(string name)
    {
        VitConfig config = VitPresets.Get(name);
        using var vit = new VisionTransformer(config);
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        Tensor logits = vit.Forward(Images(config, 2));
        Assert.Equal(new Shape(2, config.NumClasses), logits.Shape);
        Assert.Equal(2 * vit.CountMultiplyAdds(), recording.Cost.MultiplyAdds);
    }

    [Fact]
    public void A_fresh_classifier_gives_every_class_the_same_chance()
    {
        VitConfig config = VitPresets.Get("vit-tiny-28");
        using var vit = new VisionTransformer(config);
        using var scope = new Scope();
        Assert.All(vit.Forward(Images(config, 3)).ToArray(), x => Assert.Equal(0, x));
    }

    [Fact]
    public void Patches_may_be_permuted_together_with_their_positions()
    {
        VitConfig config = VitPresets.Get("vit-tiny-28");
        using var vit = new VisionTransformer(config) { Training = false };
        var rng = new Rng(1);
        Init.Normal(vit.NamedParameters().Single(p => p.Name == "head.weight").Value, 1, ref rng);
        using var scope = new Scope();
        Tensor x = vit.Embed(Images(config, 1));
        var order = new int[config.Tokens];
        for (int i = 0; i < order.Length; i++) order[i] = i;
        rng.Shuffle(order.AsSpan(1));
        float[] straight = Logits(x), permuted = Logits(F.GatherRows(x, order, x.Rows));
        for (int c = 0; c < straight.Length; c++) Assert.Equal(straight[c], permuted[c], 1e-4f);

        float[] Logits(Tensor rows)
        {
            for (int i = 0; i < config.NumLayers; i++) rows = vit.Block(i, rows);
            return vit.Classify(rows).ToArray();
        }
    }

    /// <summary>A prepared graph leaves out what the classifier does not read of the last block; no result may notice.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_last_block_may_leave_out_all_but_the_prefix(bool distilled)
    {
        VitConfig config = VitPresets.Get("vit-tiny-28") with { Distilled = distilled };
        using var vit = new VisionTransformer(config);
        var rng = new Rng(1);
        foreach (var (name, head) in vit.NamedParameters().Where(p => p.Name.StartsWith("head", StringComparison.Ordinal)))
            Init.Normal(head, 1, ref rng);
        Graph prepared = vit.Trace().Prepared(training: true);
        GraphNode fc1 = prepared.Nodes.Last(n => n.Name.EndsWith(".gelu", StringComparison.Ordinal));
        Assert.Equal(2 * config.PrefixTokens, fc1.Output.Shape[0]);
        var (logits, gradients) = Pass(vit.Forward);
        var (fewer, same) = Pass(x => prepared.Run(x, new RunContext(Training: true)));
        Close(logits, fewer);
        for (int i = 0; i < gradients.Length; i++) Close(gradients[i], same[i]);

        (float[], float[][]) Pass(Func<Tensor, Tensor> forward)
        {
            using var scope = new Scope();
            using var recording = new Recording();
            Tensor y = forward(Images(config, 2));
            recording.Backward(F.CrossEntropy(y, [3, 7]));
            float[][] all = [.. vit.Parameters().Select(p => p.Grad!.ToArray())];
            vit.ClearGrads();
            return (y.ToArray(), all);
        }

        static void Close(float[] expected, float[] actual)
        {
            // The gradient of a key's bias is nothing but rounding: softmax does not notice a shift.
            float largest = expected.Max(MathF.Abs);
            for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 1e-4f * largest + 2e-6f);
        }
    }

    [Fact]
    public void Dropout_acts_in_training_only_and_repeats_with_its_seed()
    {
        VitConfig config = VitPresets.Get("vit-tiny-28");
        using var vit = new VisionTransformer(config) { DropoutRate = 0.5f };
        using var scope = new Scope();
        Tensor images = Images(config, 1);
        Assert.Equal(Rows(1), Rows(1));
        Assert.NotEqual(Rows(1), Rows(2));
        vit.Training = false;
        Assert.Equal(Rows(1), Rows(2));

        float[] Rows(ulong seed)
        {
            var rng = new Rng(seed);
            Dropout.Seed(vit, ref rng);
            return vit.Block(0, vit.Embed(images)).ToArray();
        }
    }

    [Fact]
    public void Images_of_another_size_are_refused_with_both_shapes()
    {
        using var vit = new VisionTransformer(VitPresets.Get("vit-tiny-28"));
        using var scope = new Scope();
        var e = Assert.Throws<ArgumentException>(() => vit.Forward(Tensor.Zeros(new Shape(1, 3, 28, 28))));
        Assert.Contains("[1,3,28,28]", e.Message, StringComparison.Ordinal);
        Assert.Contains("1,28,28", e.Message, StringComparison.Ordinal);
    }

    private static Tensor Images(VitConfig config, int count)
    {
        var rng = new Rng(2);
        var x = new Tensor(new Shape(count, config.Channels, config.ImageSize, config.ImageSize));
        Init.Normal(x, 1, ref rng);
        return x;
    }
}
