using Espalier.Distributed;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Distributed;

/// <summary>Batch norms over the images of all ranks are those of one process that has all images.</summary>
public sealed class SyncBatchNormTests
{
    private const int Images = 8, Channels = 3, Side = 5;

    /// <summary>One rank has three images and one five; the ReLU is done in the norm's own passes, and no rank's values are near
    /// zero.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void UnequalPartsAreOneBatch(bool relu)
    {
        Outcome whole = Pass(relu, 0, Images, null);
        Outcome[] parts = MemoryRanks.Run(2, r => Pass(relu, 3 * r.Rank, r.Rank == 0 ? 3 : 5, r));
        AssertNear(whole.Y, [.. parts[0].Y, .. parts[1].Y], 2e-5f);
        AssertNear(whole.Dx, [.. parts[0].Dx, .. parts[1].Dx], 2e-5f);
        AssertNear(whole.Gamma, [.. parts[0].Gamma.Zip(parts[1].Gamma, (a, b) => a + b)], 1e-4f);
        AssertNear(whole.Beta, [.. parts[0].Beta.Zip(parts[1].Beta, (a, b) => a + b)], 1e-4f);
        AssertNear(whole.Statistics, parts[0].Statistics, 1e-5f);
        Assert.Equal(parts[0].Statistics, parts[1].Statistics);
        Assert.Contains(Pass(relu, 0, 3, null).Y.Zip(whole.Y), p => Math.Abs(p.First - p.Second) > 0.01);
    }

    [Theory]
    [InlineData(2, false)]
    [InlineData(4, true)]
    public void RanksTrainWhatOneProcessDoesWithTheWholeBatch(int count, bool checkpoints)
    {
        TrainOptions options = RanksTests.Options with { Steps = 3, SyncBatchNorm = true };
        using Model one = RanksTests.New("resnet20");
        RanksTests.Train(one, Plain(one), options);
        Model[] ranks = MemoryRanks.Run(count, r =>
        {
            Model own = RanksTests.New("resnet20");
            RanksTests.Train(own, Plain(own), options with { Ranks = r, CheckpointActivations = checkpoints });
            return own;
        });
        Assert.Contains(one.Graph.Weights.Keys, name => name.EndsWith("running_var", StringComparison.Ordinal));
        foreach (var (name, weight) in one.Graph.Weights)
        {
            AssertNear(weight.Tensor.ToArray(), ranks[0].Graph.Weights[name].Tensor.ToArray(), 1e-4f);
            foreach (Model other in ranks)
                Assert.Equal(ranks[0].Graph.Weights[name].Tensor.ToArray(), other.Graph.Weights[name].Tensor.ToArray());
        }
        foreach (Model m in ranks) m.Dispose();
    }

    [Fact]
    public void OneRankTrainsAsItDoesWithout()
    {
        float[][] weights = [.. new[] { false, true }.Select(sync => MemoryRanks.Run(1, r =>
        {
            using Model own = RanksTests.New("resnet20");
            RanksTests.Train(own, Plain(own), RanksTests.Options with { Steps = 2, SyncBatchNorm = sync, Ranks = r });
            return own.Graph.Weights.Values.SelectMany(w => w.Tensor.ToArray()).ToArray();
        })[0])];
        Assert.Equal(weights[0], weights[1]);
    }

    private static ClassifierTask Plain(Model model) => new(model, new ClassifierTaskOptions());

    private static Outcome Pass(bool relu, int first, int count, IRanks? ranks)
    {
        using var scope = new Scope();
        var rng = new Rng(5);
        Tensor gamma = Tensor.Parameter(new Shape(Channels)), beta = Tensor.Parameter(new Shape(Channels));
        gamma.Fill(0.7f);
        beta.Fill(0.2f);
        Tensor mean = Tensor.Zeros(new Shape(Channels)), variance = Tensor.Full(new Shape(Channels), 1);
        Graph graph = Graph.Trace(
            x =>
            {
                Tensor y = F.BatchNorm2d(x, gamma, beta, mean, variance, training: true);
                return relu ? F.Relu(y) : y;
            },
            new Shape(2, Channels, Side, Side), [("weight", gamma), ("bias", beta), ("mean", mean), ("variance", variance)]);
        int image = Channels * Side * Side;
        var all = new float[Images * image];
        for (int i = 0; i < all.Length; i++) all[i] = 3 + (i / image) + rng.NextNormal();
        var weights = new float[all.Length];
        for (int i = 0; i < weights.Length; i++) weights[i] = rng.NextNormal();
        var shape = new Shape(count, Channels, Side, Side);
        Tensor x = Tensor.From(shape, all.AsSpan(first * image, count * image));
        x.RequiresGrad = true;
        using var recording = new Recording();
        var run = new RunContext(Training: true)
        {
            SumOverRanks = ranks is null ? null : values => ranks.Sum(values.AsMemory()).GetAwaiter().GetResult(),
        };
        Tensor y = graph.Prepared(training: true).Run(x, run);
        Assert.Single(recording.Ops);
        recording.Backward(F.Sum(F.Mul(y, Tensor.From(shape, weights.AsSpan(first * image, count * image)))));
        return new Outcome(y.ToArray(), x.Grad!.ToArray(), gamma.Grad!.ToArray(), beta.Grad!.ToArray(),
            [.. mean.ToArray(), .. variance.ToArray()]);
    }

    private static void AssertNear(float[] expected, float[] actual, float tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], tolerance * (1 + Math.Abs(expected[i])));
    }

    private sealed record Outcome(float[] Y, float[] Dx, float[] Gamma, float[] Beta, float[] Statistics);
}
