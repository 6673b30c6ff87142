using Espalier.Compression;
using Espalier.Quantization;
using Espalier.Tensors;
using Espalier.Tests.Compression;
using Espalier.Training;

namespace Espalier.Tests.Quantization;

/// <summary>What noise does to weights, in training and only there.</summary>
public class WeightNoiseTests
{
    /// <summary>Of a range from -1 to 3: what is drawn is rounded, what is not stays, and what lies outside is cut
    /// first.</summary>
    [Theory]
    [InlineData(0.1f, 1, 0.0941176f, 1)]
    [InlineData(0.4f, 0, 0.4f, 1)]
    [InlineData(3.2f, 1, 2.9960784f, 0)]
    [InlineData(3.2f, 0, 2.9960784f, 0)]
    [InlineData(-1.5f, 0, -1.0039216f, 0)]
    public void AWeightIsRoundedOrStays(float w, float drawn, float expected, float slope)
    {
        using var scope = new Scope();
        (float scale, int zero) = CodeFormat.Activation(8).Fit(-1, 3);
        using Tensor weight = Tensor.Parameter(new Shape(1, 1));
        weight.Fill(w);
        Graph graph = Graph.Trace(x => F.Linear(x, weight), new Shape(2, 1), [("w", weight)]);
        QuantisedValue value = QuantisedValue.Insert(graph, graph["w"], CodeFormat.Activation(8));
        value.Scale.Fill(scale);
        value.Zero!.Fill(zero);
        using var noise = new WeightNoise(NoiseKind.Integers, 0.5, [(value.Node.Output, 1)]);
        WeightNoise.SetEnds(noise.Blocks[0]);
        noise.Blocks[0].Noise.Fill(drawn);
        Tensor one = Tensor.Full(new Shape(1, 1), 1);
        using var recording = new Recording();
        Tensor y = noise.Noised(graph).Run(one);
        Assert.Equal(expected, y.Item(), 1e-6f);
        recording.Backward(F.Sum(y));
        Assert.Equal(slope, weight.Grad!.Item());
        Assert.Equal(w, weight.Item());
    }

    /// <summary>All of them drawn is training with roundings, none is plain training, bit for bit.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(0)]
    public void AllOrNone(double share)
    {
        using Model noised = CompressionJobs.Model(CompressionJobs.TinyVit, 8), other = noised.Copy();
        QuantisedTrainingOptions options = new() { Rounding = new() { WeightBits = 4, Norms = NormCoding.Whole } };
        var training = new QuantisedTraining(noised.Graph, [TinyGolden.Images(9)], options);
        // Ranges that stay need no values to be looked at, which leaves the pass as it is without any.
        training.Moves = share > 0;
        using var noise = new WeightNoise(NoiseKind.Integers, share, training.Weights.Select(w => (w.Node.Output, 1)))
        {
            LeftOut = share == 0 ? training.Values : [],
        };
        double[] losses = TinyGolden.Train(noised, 0.05f, 3, new Both(training, noise));
        ITrainingHook alone = share == 0 ? new Both() : new QuantisedTraining(other.Graph, [TinyGolden.Images(9)], options);
        Assert.Equal(TinyGolden.Train(other, 0.05f, 3, alone), losses);
        Assert.All(other.Graph.Parameters, p => Assert.Equal(p.Value.ToArray(), noised.Graph.Weights[p.Name].Tensor.ToArray()));
    }

    [Theory]
    [InlineData(NoiseKind.Proxy)]
    [InlineData(NoiseKind.Centroids)]
    public void BlocksAreZeroOrScaledOrOfACodeBookAndWeightsStayWhatTheyAre(NoiseKind kind)
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        GraphValue weight = model.Graph.Weights["transformer.encoder.layer.0.ffn.fc1.weight"];
        float[] before = weight.Tensor.ToArray(), logits = model.Graph.Run(TinyGolden.Images(0)).ToArray();
        using var noise = new WeightNoise(kind, 0.2, [(weight, 4)]) { Books = (100, 8, 5) };
        Graph run = noise.ForStep(model.Graph, new StepContext(1, 4, 0, 0, 1, new Rng(1)));
        Assert.Equal(before, weight.Tensor.ToArray());
        Assert.NotEqual(logits, run.Run(TinyGolden.Images(0)).ToArray());
        float[] noised = noise.Blocks[0].Noise.ToArray();
        Assert.All(noised.Chunk(4), b => Assert.True(kind == NoiseKind.Proxy ? b.All(x => x is 0 or 1.25f)
            && b.Distinct().Count() == 1
            : b.All(x => x == 0) || b.All(x => x != 0)));
        int drawn = noised.Chunk(4).Count(b => kind == NoiseKind.Proxy ? b[0] == 0 : b[0] != 0);
        Assert.InRange(drawn, 1, noised.Length / 8);
        // Another draw in the next pass of the same graph; the evaluated network has none.
        float[] first = run.Run(TinyGolden.Images(0)).ToArray();
        Assert.Same(run, noise.ForStep(model.Graph, new StepContext(2, 4, 0, 0, 1, new Rng(2))));
        Assert.NotEqual(noised, noise.Blocks[0].Noise.ToArray());
        Assert.NotEqual(first, run.Run(TinyGolden.Images(0)).ToArray());
        Assert.Equal(logits, model.Graph.Run(TinyGolden.Images(0)).ToArray());
    }

    /// <summary>Between two fits weights move, and the entry that is nearest is another one.</summary>
    [Fact]
    public void BlocksBecomeTheEntryThatIsNearestNow()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        GraphValue weight = model.Graph.Weights["transformer.encoder.layer.0.ffn.fc1.weight"];
        using var noise = new WeightNoise(NoiseKind.Centroids, 1, [(weight, 4)]) { Books = (100, 8, 5) };
        noise.ForStep(model.Graph, new StepContext(1, 4, 0, 0, 1, new Rng(1)));
        foreach (ref float w in weight.Tensor.Span) w = -w;
        noise.ForStep(model.Graph, new StepContext(2, 4, 0, 0, 1, new Rng(2)));
        float[][] entries = [.. noise.Blocks[0].Book!.ToArray().Chunk(4)];
        float[][] moved = [.. weight.Tensor.ToArray().Chunk(4)], added = [.. noise.Blocks[0].Noise.ToArray().Chunk(4)];
        for (int i = 0; i < moved.Length; i++)
        {
            float[] nearest = entries.MinBy(e => e.Zip(moved[i], (a, b) => (a - b) * (a - b)).Sum())!;
            for (int j = 0; j < 4; j++) Assert.Equal(nearest[j], moved[i][j] + added[i][j], 1e-6f);
        }
    }

    [Theory]
    [InlineData(NoiseKind.Integers)]
    [InlineData(NoiseKind.Proxy)]
    [InlineData(NoiseKind.Centroids)]
    public void EvaluationNeverSeesNoise(NoiseKind kind)
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        string[] before = [.. model.Graph.Nodes.Select(n => n.Op.Name)];
        CompressionMethod method = CompressionMethods.Get("quant-noise").Set("kind", kind.ToString().ToLowerInvariant())
            .Set("block", "4").Set("entries", "8").Set("share", "0.5") with { TrainSteps = 2 };
        CompressionJob job = CompressionJobs.Job(model, method);
        job.Run();
        Assert.Equal(kind == NoiseKind.Integers, QuantisedValue.Of(model.Graph).Any());
        // Noise would be ops more: of integers Where and Pair beside the roundings, of blocks Mul or Add.
        Assert.Equal(before, model.Graph.Nodes.Where(n => n.Op is not QuantiseOp).Select(n => n.Op.Name));
        double first = job.Evaluate().Scalars["loss"];
        var task = new ClassifierTask(model, new ClassifierTaskOptions());
        using var loader = new Espalier.Data.DataLoader(job.Data.Evaluation, job.Data.EvaluationPipeline, 16);
        Assert.Equal(first, task.Evaluate(loader.Once()).Scalars["loss"], 1e-6);
    }

    private sealed class Both(QuantisedTraining? training = null, WeightNoise? noise = null) : ITrainingHook
    {
        public IReadOnlyList<GraphValue> Watched => training?.Watched ?? [];

        public Graph ForStep(Graph network, in StepContext context) => noise?.ForStep(network, context) ?? network;

        public Tensor? Loss(TrainingPass pass, in StepContext context) => training?.Loss(pass, context);

        public void AfterStep(long step) => training?.AfterStep(step);
    }
}
