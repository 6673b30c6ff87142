using Espalier.Data;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Models.Loading;

/// <summary>ONNX Runtime computes from the written file what the model computes.</summary>
public sealed class OnnxRuntimeTests : IDisposable
{
    private const float Tolerance = 1e-4f;

    private readonly TempFolder folder = new();

    private string File => Path.Combine(folder.Path, "model.onnx");

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("plain", 1)]
    [InlineData("plain", 3)]
    [InlineData("small", 3)]
    [InlineData("distilled", 2)]
    [InlineData("hybrid", 2)]
    [InlineData("hybrid of the port", 1)]
    [InlineData("convolutions", 3)]
    public void DenseLogitsAreTheModels(string kind, int batch)
    {
        VitConfig hybrid = RandomModel.Tiny with { ImageSize = 64, PatchSize = 1, Stem = VitStem.ResNet50 };
        VitConfig config = kind switch
        {
            "small" => VitPresets.Get("vit-small-28"),
            "distilled" => RandomModel.Tiny with { Distilled = true },
            "hybrid" => hybrid,
            "convolutions" => VitPresets.Get("vit-conv-28"),
            "hybrid of the port" => hybrid with { Stem = VitStem.ResNet50Torch },
            _ => RandomModel.Tiny,
        };
        using AgentModel model = RandomModel.Create(config);
        using var scope = new Scope();
        Tensor images = RandomModel.Images(config, 2 * batch);
        model.WriteOnnx(File, prune: false);
        Dictionary<string, byte[]> results = OnnxRuntime.Run(File, images.Span, batch);
        AssertClose(model.Plain(images).ToArray(), OnnxRuntime.Floats(results["logits"]));
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void PrunedLogitsAndTokensAreTheModels(bool distilled, bool behindTheLastBlock)
    {
        VitConfig config = RandomModel.Tiny with { Distilled = distilled, PruneLayers = behindTheLastBlock ? [1, 3] : [0, 2] };
        using AgentModel model = RandomModel.Create(config, agents: true);
        using var scope = new Scope();
        Tensor images = RandomModel.Images(config, 8);
        PrunedPass expected = model.Forward(images);
        Assert.True(expected.TokensOf(0)[^1] < config.Tokens && expected.TokensOf(0)[^1] > config.PrefixTokens);
        ComparePruned(model, images, expected, atLeast: 7);
    }

    [Theory]
    [InlineData(-1f)]
    [InlineData(1f)]
    public void AllOrNoTokensMayGo(float threshold)
    {
        using AgentModel model = RandomModel.Create(RandomModel.Tiny, agents: true);
        model.Threshold = threshold;
        using var scope = new Scope();
        Tensor images = RandomModel.Images(RandomModel.Tiny, 2);
        PrunedPass expected = model.Forward(images);
        Assert.Equal(threshold < 0 ? 1 : RandomModel.Tiny.Tokens, expected.TokensOf(0)[^1]);
        ComparePruned(model, images, expected, atLeast: 2);
    }

    [Theory]
    [InlineData(17)]
    [InlineData(23)]
    public void TheShippedModelDropsTheSameTokens(int opset)
    {
        using AgentModel model = Shipped();
        using var scope = new Scope();
        Tensor images = SampleImages(model, 120);
        PrunedPass expected = model.Forward(images);
        Assert.True(expected.Steps[^1].Rows < expected.Steps[0].Rows / 2);
        ComparePruned(model, images, expected, atLeast: 115, opset);
    }

    [Theory]
    [InlineData(17)]
    [InlineData(23)]
    public void TheShippedModelGivesTheSameDense(int opset)
    {
        using AgentModel model = Shipped();
        using var scope = new Scope();
        Tensor images = SampleImages(model, 100);
        model.WriteOnnx(File, prune: false, opset: opset);
        Dictionary<string, byte[]> results = OnnxRuntime.Run(File, images.Span, 50);
        AssertClose(model.Plain(images).ToArray(), OnnxRuntime.Floats(results["logits"]));
    }

    /// <summary>Rounding moves logits a little and flips some decisions of the agents; hardly any prediction changes.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void TheShippedModelIn8BitsPredictsTheSame(bool prune)
    {
        using AgentModel model = Shipped();
        using var scope = new Scope();
        Tensor images = SampleImages(model, 200);
        model.WriteOnnx(File, prune, Precision.Int8);
        Dictionary<string, byte[]> results = OnnxRuntime.Run(File, images.Span, prune ? 1 : 50);
        Tensor expected = prune ? model.Forward(images).Logits : model.Plain(images);
        float[] actual = OnnxRuntime.Floats(results["logits"]);
        int classes = model.Model.NumClasses, same = 0;
        for (int b = 0; b < 200; b++)
            if (Best(expected.Span.Slice(b * classes, classes)) == Best(actual.AsSpan(b * classes, classes))) same++;
        Assert.True(same >= 196, $"{same} of 200 predictions are the same");
        float[] differences = [.. expected.ToArray().Zip(actual, (x, y) => MathF.Abs(x - y))];
        Assert.InRange(differences.Average(), 1e-4f, 0.05f);
    }

    private static int Best(ReadOnlySpan<float> logits) => System.Numerics.Tensors.TensorPrimitives.IndexOfMax(logits);

    /// <summary>Every image, but for those where a decision is so close to the threshold that it may fall either way.</summary>
    private void ComparePruned(AgentModel model, Tensor images, PrunedPass expected, int atLeast, int opset = 17)
    {
        model.WriteOnnx(File, prune: true, opset: opset);
        Dictionary<string, byte[]> results = OnnxRuntime.Run(File, images.Span, 1);
        long[] tokens = OnnxRuntime.Integers(results["tokens"]), kept = OnnxRuntime.Integers(results["kept"]);
        float[] logits = OnnxRuntime.Floats(results["logits"]);
        int agents = model.Agents.Count, classes = model.Model.NumClasses, start = 0, compared = 0;
        bool[] close = CloseDecisions(model, expected);
        for (int b = 0; b < images.Shape[0]; b++)
        {
            long[] counts = tokens[(b * agents)..((b + 1) * agents)];
            long[] left = kept[start..(start += (int)counts[^1])];
            if (close[b]) continue;
            compared++;
            Assert.Equal(expected.TokensOf(b)[1..], counts.Select(n => (int)n));
            Assert.Equal(expected.KeptOf(b)[^1], left.Select(n => (int)n));
            AssertClose(expected.Logits.Span.Slice(b * classes, classes).ToArray(), logits[(b * classes)..((b + 1) * classes)]);
        }
        Assert.Equal(kept.Length, start);
        Assert.True(compared >= atLeast, $"only {compared} images could be compared");
    }

    private static bool[] CloseDecisions(AgentModel apt, PrunedPass output)
    {
        var close = new bool[output.Steps[0].Images];
        for (int i = 0; i < apt.Agents.Count; i++)
        {
            Tensor rows = output.AgentInputs[i];
            float[] p = apt.Agents[i].PruneProbabilities(rows);
            for (int b = 0; b < close.Length; b++)
                close[b] |= p[rows.Rows![b]..rows.Rows[b + 1]].Any(x => MathF.Abs(x - apt.Threshold) < 1e-5f);
        }
        return close;
    }

    private static void AssertClose(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        float scale = Math.Max(1, expected.Max(MathF.Abs));
        for (int i = 0; i < expected.Length; i++)
            Assert.True(MathF.Abs(expected[i] - actual[i]) <= Tolerance * scale, $"{i}: {actual[i]}, not {expected[i]}");
    }

    private static AgentModel Shipped() =>
        new(Model.Open(Path.Combine(OnnxRuntime.RepositoryRoot, "models", "apt-fashion-mnist.safetensors")));

    private static Tensor SampleImages(AgentModel model, int count)
    {
        Model c = model.Model;
        IImageDataset data = Subset.First(Datasets.OpenSample().Test, count);
        using var loader = new DataLoader(data, ImagePipeline.Eval(c.ImageSize, c.Channels), count);
        return loader.Once().Single().ToTensor(c.Channels, c.ImageSize);
    }
}
