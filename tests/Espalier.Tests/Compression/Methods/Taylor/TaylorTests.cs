using Espalier.Compression;
using Espalier.Compression.Methods.Taylor;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Methods;

public sealed class TaylorTests
{
    [Theory]
    [InlineData("cifar-vgg11", 16, TaylorVariant.Paper, false)]
    [InlineData("resnet20", 16, TaylorVariant.Pipeline, true)]
    [InlineData("resnet20", 16, TaylorVariant.Paper, true, true)]
    [InlineData("vgg11_bn", 32, TaylorVariant.Paper, true)]
    [InlineData("densenet121", 32, TaylorVariant.Paper, true)]
    [InlineData("mobilenet_v2", 32, TaylorVariant.Paper, true)]
    [InlineData("efficientnet_b0", 32, TaylorVariant.Paper, false)]
    public void MakesNetworksSmaller(string network, int size, TaylorVariant variant, bool global, bool streams = false)
    {
        using Cnn net = CompressionJobs.Net(network, size);
        CompressionJob job = CompressionJobs.Job(net, new Taylor
        {
            Selection = new() { TargetFlops = 0.6, Global = global, Streams = streams },
            Rounds = 2, FineTuneSteps = 2, RankBatches = 1, Variant = variant,
        });
        long before = net.ParameterCount;
        job.Run();
        Assert.Equal(2, job.Removals.Count);
        Assert.True(net.ParameterCount < before, $"{before} -> {net.ParameterCount} parameters");
        Assert.InRange((double)job.Removals[1].Summary.MultiplyAddsAfter / job.Removals[0].Summary.MultiplyAddsBefore, 0.4, 0.6);
        Assert.All(job.Removals, r => Assert.True(r.Difference < 1e-4f, $"differs by {r.Difference}"));
        Assert.All(net.Parameters(), p => Assert.Null(p.Grad));
    }

    /// <summary>
    /// Two images, two channels of two values: (-0.25, -0.5) and (0.25, -0.25) a channel. An image's own loss has twice the
    /// gradient that the mean over two images has.
    /// </summary>
    [Theory]
    [InlineData(TaylorVariant.Paper, 0.5, 0.75, 0.5547002, 0.8320503)]
    [InlineData(TaylorVariant.Pipeline, 0, 0.375, 0, 1)]
    public void SumsByThePaperAndByThePipeline(TaylorVariant variant, double first, double second, double normal0, double normal1)
    {
        using var scope = new Scope();
        ChannelGroup group = Group(2);
        Tensor products = Tensor.From(new Shape(2, 2, 1, 2), [0.5f, -1, 0, -1, 1, -0.5f, 0.5f, -1]);
        var sum = new TaylorSum(group, variant);
        sum.Add(new ChannelReading(group, products, 1, [[0], [1]]), Tensor.Full(products.Shape, 1), images: 2);
        Assert.Equal([first, second], sum.Criterion);
        double[] normalised = new ChannelScores().Set(group, [.. sum.Criterion]).Normalised().Groups[group];
        Assert.Equal(normal0, normalised[0], 1e-7);
        Assert.Equal(normal1, normalised[1], 1e-7);
    }

    /// <summary>The same channels as columns of a linear layer behind a flattened map, with their values side by side.</summary>
    [Fact]
    public void ReadsColumnsOfFlattenedMaps()
    {
        using var scope = new Scope();
        ChannelGroup group = Group(2);
        Tensor products = Tensor.From(new Shape(2, 4), [0.5f, -1, 0, -1, 1, -0.5f, 0.5f, -1]);
        var sum = new TaylorSum(group, TaylorVariant.Paper);
        sum.Add(new ChannelReading(group, products, 1, [[0, 1], [2, 3]]), Tensor.Full(products.Shape, 1), images: 2);
        Assert.Equal([0.5, 0.75], sum.Criterion);
    }

    /// <summary>
    /// Three images of 1, 2 and 3 tokens: the mean over each image's rows, then over the images, whatever their numbers of rows.
    /// A map whose rows are of nobody is refused.
    /// </summary>
    [Fact]
    public void PackedRowsCountByImage()
    {
        using var scope = new Scope();
        ChannelGroup group = Group(2);
        Tensor map = Tensor.From(new Shape(6, 2), [1, 2, 1, -2, 3, 2, -1, 0, -2, 0, 0, 9]);
        var sum = new TaylorSum(group, TaylorVariant.Paper);
        var reading = new ChannelReading(group, map, 1, [[0], [1]]);
        Assert.Throws<EspalierException>(() => sum.Add(reading, Tensor.Full(map.Shape, 1), images: 3));
        map.Rows = RowSet.FromLengths([1, 2, 3]);
        // t is 3 times (1, 2 and -1) for the first channel and (2, 0 and 3) for the second.
        sum.Add(reading, Tensor.Full(map.Shape, 1), images: 3);
        Assert.Equal([4, 5], sum.Criterion);
    }

    /// <summary>
    /// Heads and hidden units of a transformer, and filters: the scores are those of the images one by one, in whatever batches
    /// they come and however short the last one is.
    /// </summary>
    [Theory]
    [InlineData("vit", 16)]
    [InlineData("vit", 40)]
    [InlineData("vit", 39)]
    [InlineData("deit", 16)]
    [InlineData("cifar-vgg11", 16)]
    public void ScoresAreThoseOfImagesOneByOne(string network, int batch)
    {
        const int Images = 40;
        using ImageClassifier net = network.EndsWith("it", StringComparison.Ordinal) ? Vit(network == "deit")
            : CompressionJobs.Net(network);
        var taylor = new Taylor { RankBatches = Images, Training = new() { BatchSize = batch, DataThreads = 0 } };
        var job = new CompressionJob(Model.FromModule(net), CompressionJobs.Data(net.ImageSize, Images), taylor);
        using DependencyGraph graph = job.Graph();
        ChannelGroup[] groups = [.. graph.Groups.Where(g => g.Inexact is null && !g.IsStream)];
        if (net is VisionTransformer)
            Assert.Equal(["attn.query", "ffn.fc1"],
                groups.Select(g => string.Join('.', g.Name.Split('.')[4..])).Distinct().Order());
        ChannelScores together = taylor.Score(job, graph, groups), alone = new();
        var one = new CompressionJob(Model.FromModule(net), CompressionJobs.Data(net.ImageSize, Images),
            taylor with { Training = new() { BatchSize = 1 } });
        foreach (ChannelGroup g in groups) alone.Set(g, ByHand(one, g));
        Assert.True(groups.Length >= 4);
        foreach (var (group, scores) in alone.Normalised().Groups)
        {
            double[] others = together.Groups[group];
            for (int k = 0; k < scores.Length; k++)
                Assert.True(Math.Abs(scores[k] - others[k]) < 1e-4, $"{group.Name} {k}: {scores[k]} and {others[k]}");
        }
    }

    /// <summary>
    /// One image after the other: |mean of activation times gradient| over all that one channel is in what its readers see.
    /// </summary>
    private static double[] ByHand(CompressionJob job, ChannelGroup group)
    {
        var sums = new double[group.Count];
        GroupSlice[] readers = [.. group.Of(ChannelRole.Consumer)];
        foreach (Espalier.Data.Batch image in job.RankingBatches())
        {
            using var recording = new Recording();
            Tensor loss = F.CrossEntropy(job.Model.Graph.Run(image.ToTensor(1, job.Model.ImageSize)), image.Labels);
            var maps = (from reader in readers
                        from op in recording.Ops
                        where op.Inputs.Count > 1 && op.Inputs[1] == reader.Tensor
                        select (Map: op.Inputs[0], reader.Entries)).ToArray();
            recording.Backward(loss, look: t =>
            {
                foreach (var (map, entries) in maps.Where(m => m.Map == t))
                {
                    int width = map.Shape[1], plane = map.Shape.Rank == 4 ? map.Shape[2] * map.Shape[3] : 1;
                    for (int k = 0; k < sums.Length; k++)
                    {
                        sums[k] += Math.Abs(Enumerable.Range(0, (int)map.Length).Where(i => entries[k].Contains(i / plane % width))
                            .Average(i => (double)map.Span[i] * map.Grad!.Span[i]));
                    }
                }
            });
            foreach (var (_, parameter) in job.Model.Graph.Parameters) parameter.ClearGrad();
        }
        return sums;
    }

    /// <summary>The gradient is nothing where ReLU is off, so it is the same before and after.</summary>
    [Fact]
    public void GradientsAreSeenBeforeTheyAreFreed()
    {
        using var scope = new Scope();
        Tensor leaf = Tensor.From(new Shape(4), [-1, 2, -3, 4]);
        leaf.RequiresGrad = true;
        using var recording = new Recording();
        Tensor before = F.Affine(leaf, 1, 0), after = F.Relu(before);
        Tensor loss = F.Sum(F.Mul(after, Tensor.From(new Shape(4), [1, 2, 3, 4])));
        var products = new Dictionary<Tensor, float[]>();
        recording.Backward(loss, look: t => products.Add(t, [.. t.ToArray().Zip(t.Grad!.ToArray(), (z, g) => z * g)]));
        Assert.Equal([0, 4, 0, 16], products[before]);
        Assert.Equal([0, 4, 0, 16], products[after]);
        Assert.Null(after.Grad);
    }

    /// <summary>Loss (z1 + 2 z2 - 1)² / 2 at (1, 2).</summary>
    [Fact]
    public void IsTheFirstOrderOfTheLoss()
    {
        using var scope = new Scope();
        ChannelGroup group = Group(2);
        Tensor leaf = Tensor.From(new Shape(1, 2), [1, 2]);
        leaf.RequiresGrad = true;
        using var recording = new Recording();
        Tensor z = F.Affine(leaf, 1, 0);
        Tensor error = F.Affine(F.Sum(F.Mul(z, Tensor.From(new Shape(1, 2), [1, 2]))), 1, -1);
        var sum = new TaylorSum(group, TaylorVariant.Paper);
        recording.Backward(F.Affine(F.Square(error), 0.5f, 0), look: t =>
        {
            if (t == z) sum.Add(new ChannelReading(group, z, 1, [[0], [1]]), t.Grad!, images: 1);
        });
        Assert.Equal([4.0, 16.0], sum.Criterion);
    }

    [Fact]
    public void DearLayersLoseScore()
    {
        ChannelGroup group = Group(3);
        double[] scores = Taylor.Regularised(new ChannelScores().Set(group, [0.05, 0.2, 0.9]), 1e-3,
            new Dictionary<ChannelGroup, double> { [group] = 1.85 }).Groups[group];
        Assert.Equal(0.04815, scores[0], 1e-12);
        Assert.Equal(0.19815, scores[1], 1e-12);
        Assert.Equal(0.89815, scores[2], 1e-12);
    }

    [Fact]
    public void ChannelsThatNobodyHeedsGoFirstAndChangeNothing()
    {
        using Cnn net = CompressionJobs.Net("resnet20");
        CompressionJob job = CompressionJobs.Job(net, new CompressionOptions { RankBatches = 1 });
        using DependencyGraph graph = job.Graph();
        ChannelGroup group = graph["layer2.1.conv1"];
        GroupSlice reader = group.Of(ChannelRole.Consumer).Single();
        int inputs = reader.Tensor.Shape[1];
        foreach (int k in (int[])[1, 4])
            for (int row = 0; row < reader.Tensor.Shape[0]; row++) reader.Tensor.Span.Slice((row * inputs + k) * 9, 9).Clear();
        ChannelScores scores = new Taylor().Score(job, graph, [group]);
        Assert.Equal([1, 4], Enumerable.Range(0, group.Count).Where(k => scores.Groups[group][k] == 0));
        net.Training = false;
        using Tensor images = job.Example(4);
        float[] before = net.Forward(images).ToArray();
        job.Remove(graph, job.Select(graph, scores, new SelectionOptions { Ratio = 2.0 / group.Count }));
        Assert.True(Removal.Difference(before, net.Forward(images).ToArray()) < 1e-5f);
    }

    /// <summary>VGG-16 has 4,224 filters, 8 whole blocks of 512; two thirds of them are 5 rounds, which remove 2,560.</summary>
    [Fact]
    public void ThePipelineRemovesAFixedNumberARound()
    {
        using Cnn vgg = CnnPresets.Create(CnnPresets.Get("cifar-vgg16"));
        using (DependencyGraph graph = ModuleGraphs.Build(vgg, vgg.Forward, Tensor.Zeros(new Shape(1, 3, 32, 32))))
            Assert.Equal(4224, graph.Groups.Sum(g => g.Count));
        Assert.Equal(5, Taylor.PipelineRounds(4224, 512, 2.0 / 3));

        using Cnn net = CompressionJobs.Net("cifar-vgg16");
        CompressionJob job = CompressionJobs.Job(net, new Taylor
        {
            Ratio = 2.0 / 3, RankBatches = 1, PerRound = 128, Variant = TaylorVariant.Pipeline,
        });
        job.Run();
        Assert.Equal([128, 128, 128, 128, 128], job.Removals.Select(r => r.Summary.Groups.Sum(g => g.Before - g.After)));
    }

    /// <summary>A map of 7 x 7 before the first linear layer: 49 columns go with each channel.</summary>
    [Fact]
    public void ColumnsOfVggsFirstLinearLayer()
    {
        using Cnn net = CnnPresets.Create(new CnnConfig("vgg16") { NumClasses = 10, Width = 1 / 64.0 });
        using DependencyGraph graph = ModuleGraphs.Build(net, net.Forward, Tensor.Zeros(new Shape(1, 3, 224, 224)));
        GroupSlice reader = Assert.Single(graph["features.28"].Of(ChannelRole.Consumer));
        Assert.Equal("classifier.0.weight", reader.Name);
        for (int c = 0; c < 8; c++) Assert.Equal(Enumerable.Range(49 * c, 49), reader.Entries[c]);
    }

    /// <summary>VGG-16 on 224 pixels: at 32 each map has a 49th of the values, the costs are else the same.</summary>
    [Fact]
    public void CountsOperationsAsThePaperDoes()
    {
        var rng = new Rng(1);
        using Sequential convolutions = Vgg.Convolutions(Vgg.Stages(16), new CnnConfig("vgg16") { ImageSize = 32 }, norm: false,
            bias: true, poolLast: true, ref rng, out int width);
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        Tensor map = convolutions.Forward(Tensor.Zeros(new Shape(1, 3, 32, 32)));
        double[] costs = [.. recording.Ops.Where(op => op is Conv2dOp).Select(op => 49 * Taylor.LayerFlops(op, 1))];
        Assert.Equal(179_830_784, costs[0]);
        Assert.Equal(925_044_736, costs[10]);
        Assert.Equal(30.720e9, costs.Sum(), 0.0005e9);
        Assert.Equal(512, map.Length);

        // A row of each linear layer.
        double linear = 0;
        foreach (var (inputs, outputs) in ((int, int)[])[(7 * 7 * width, 4096), (4096, 4096), (4096, 1000)])
        {
            F.Linear(Tensor.Zeros(new Shape(1, inputs)), Tensor.Zeros(new Shape(1, inputs)));
            linear += outputs * Taylor.LayerFlops(recording.Ops[^1], 1);
        }
        Assert.Equal(30.968e9, costs.Sum() + linear, 0.0005e9);
    }

    [Fact]
    public void WrongSettingsAreRefused()
    {
        Assert.Contains("paper, pipeline", Assert.Throws<EspalierException>(() => new Taylor().Set("variant", "other")).Message);
        using Cnn net = CompressionJobs.Net("cifar-vgg11");
        foreach (var (wrong, expected) in ((Taylor, string)[])[(new() { PerRound = -1 }, "PerRound of Taylor is -1"),
            (new() { FlopsLambda = double.NaN }, "FlopsLambda"), (new() { Variant = (TaylorVariant)7 }, "paper, pipeline"),
            (new() { PerRound = 64 }, "one Ratio"),
            (new() { PerRound = 64, Ratio = LayerRatios.Parse("feature.0=0.5") }, "one Ratio"),
            (new() { Rounds = 0 }, "Rounds is 0"), (new() { Ratio = 0.5, TargetFlops = 0.5 }, "one of Ratio")])
        {
            Assert.Contains(expected, Assert.Throws<EspalierException>(CompressionJobs.Job(net, wrong).Run).Message);
        }
    }

    private static VisionTransformer Vit(bool distilled)
    {
        var vit = new VisionTransformer(new VitConfig
        {
            ImageSize = 28, PatchSize = 7, Channels = 1, HiddenSize = 16, MlpDim = 24, NumHeads = 4, NumLayers = 3, NumClasses = 10,
            Distilled = distilled,
        });
        var rng = new Rng(3);
        foreach (var (name, tensor) in vit.NamedParameters())
            if (name.StartsWith("head", StringComparison.Ordinal)) Init.Uniform(tensor, -1, 1, ref rng);
        return vit;
    }

    private static ChannelGroup Group(int channels)
    {
        Tensor weight = Tensor.Zeros(new Shape(channels, 1));
        return new ChannelGroup("layer", 0, [new GroupSlice("layer.weight", weight, 0, ChannelRole.Producer,
            [.. Enumerable.Range(0, channels).Select(k => (int[])[k])])], ChannelKind.Channels, null);
    }
}
