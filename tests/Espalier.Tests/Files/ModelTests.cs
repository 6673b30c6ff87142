using Espalier.Compression;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Tests.Models;
using Espalier.Tests.Compression;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Models.Loading;

namespace Espalier.Tests.Files;

/// <summary>Models that are written and read with nothing else, and files of format 1.</summary>
public sealed class ModelTests : IDisposable
{
    private readonly string path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.safetensors");

    public void Dispose() => File.Delete(path);

    [Theory]
    [InlineData("cifar-vgg11", 16)]
    [InlineData("resnet20", 16)]
    [InlineData("densenet40", 16)]
    [InlineData("preresnet20", 16)]
    [InlineData("mobilenet_v2", 32)]
    [InlineData("shufflenet_v2_x1_0", 32)]
    public void ANetworkWithFiltersRemovedNeedsNothingElse(string network, int size)
    {
        Cnn net = CompressionJobs.Net(network, size);
        CompressionJob job = CompressionJobs.Job(net, new CompressionOptions { Selection = new() { Ratio = 0.3 } });
        CompressionMethods.Get("l1").Run(job);
        net.Training = false;
        using var scope = new Scope();
        Tensor images = Images(3, 1, size);
        float[] expected = net.Forward(images).ToArray();

        // The old format says the same.
        FormatOne.Save(path, net, new CnnStructure { Config = net.Config, Dataset = "fashion-mnist" });
        using (Model old = Model.Open(path))
        {
            Assert.Equal(expected, old.Graph.Run(images).ToArray());
            Assert.Equal((network, "fashion-mnist"), (old.Card.Architecture, old.Card.Dataset));
            Assert.Equal(net.ParameterCount, old.ParameterCount);
        }

        using Model model = Model.FromModule(net, new ModelCard { Dataset = "d", History = ["one"] }.With("l1: less"));
        model.Save(path);
        using Model read = Model.Open(path);
        Assert.Equal(expected, read.Graph.Run(images).ToArray());
        Assert.Equal((1, size, 10), (read.Channels, read.ImageSize, read.NumClasses));
        Assert.Equal(model.Graph.Parameters.Select(p => p.Name), read.Graph.Parameters.Select(p => p.Name));
        Assert.Equal((network, "d", model.Description), (read.Card.Architecture, read.Card.Dataset, read.Description));
        Assert.Equal(["one", "l1: less"], read.Card.History);
        Assert.Equal(Preprocessing.Half(size, 1), read.Card.Preprocessing);
        Assert.Equal($"{model.Graph.ReadWeights().Count()} tensors matched", read.Report.ToString());
    }

    [Fact]
    public void BlocksThatAreGoneStayAway()
    {
        Cnn net = CompressionJobs.Net("resnet20");
        net.RemoveBlocks(["layer1.1", "layer3.2"]);
        FormatOne.Save(path, net, new CnnStructure { Config = net.Config });
        using Model old = Model.Open(path), model = Model.FromModule(net);
        model.Save(path);
        using Model read = Model.Open(path);
        using var scope = new Scope();
        Tensor images = Images(2, 1, 16);
        float[] expected = model.Graph.Run(images).ToArray();
        Assert.Equal(expected, old.Graph.Run(images).ToArray());
        Assert.Equal(expected, read.Graph.Run(images).ToArray());
        Assert.DoesNotContain(read.Graph.Weights.Keys, name => name.StartsWith("layer1.1.", StringComparison.Ordinal));
    }

    /// <summary>Block by block other heads and hidden widths, and fewer channels of the stream: no configuration could say
    /// it.</summary>
    [Fact]
    public void ATransformerWithHeadsHiddenUnitsAndChannelsRemovedNeedsNothingElse()
    {
        using AgentModel vit = RandomModel.Create(RandomModel.Tiny);
        Dictionary<string, Tensor> weights = vit.Vit.StateDict().ToDictionary(p => p.Name, p => p.Value);
        foreach (var (name, tensor) in weights)
        {
            // One head of eight of three is gone in block 1, two in block 3; hidden units in blocks 0 and 2; four channels
            // everywhere.
            int heads = name.Contains("layer.1.attn", StringComparison.Ordinal) ? 16
                : name.Contains("layer.3.attn", StringComparison.Ordinal) ? 8 : 24;
            int hidden = name.Contains("layer.0.ffn", StringComparison.Ordinal) ? 33
                : name.Contains("layer.2.ffn", StringComparison.Ordinal) ? 7 : 40;
            int[] shape = tensor.Shape.ToArray();
            bool inward = name.Contains(".attn.out.", StringComparison.Ordinal) || name.Contains(".fc2.",
                StringComparison.Ordinal);
            bool inner = name.Contains(".attn.", StringComparison.Ordinal) || name.Contains("ffn.fc", StringComparison.Ordinal);
            for (int axis = 0; axis < shape.Length; axis++)
            {
                bool wide = inner && (inward ? axis == 1 : axis == 0);
                if (name.StartsWith("head", StringComparison.Ordinal) && axis == 0) continue;
                if (wide) shape[axis] = name.Contains(".attn.", StringComparison.Ordinal) ? heads : hidden;
                else if (shape[axis] == 24 && !(name.Contains("patch_embeddings", StringComparison.Ordinal) && axis > 0))
                    shape[axis] = 20;
            }
            Cut(tensor, shape);
        }
        using Model model = Model.FromModule(vit.Vit);
        model.Save(path);
        using Model read = Model.Open(path);
        using var scope = new Scope();
        Tensor images = RandomModel.Images(RandomModel.Tiny, 3);
        float[] expected = vit.Vit.Forward(images).ToArray();
        Assert.True(expected.Max(MathF.Abs) > 0.01f);
        Assert.Equal(expected, read.Graph.Run(images).ToArray());
        Assert.Equal(model.ParameterCount, read.ParameterCount);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void TransformersOfTheOldFormatGiveWhatTheyGave(bool agents)
    {
        using AgentModel saved = RandomModel.Create(RandomModel.Tiny, agents);
        if (agents) saved.Threshold = 0.375f;
        saved.SaveFormat1(path, "noise");
        using Model model = Model.Open(path);
        string[] names = [.. "abcdefg".Select(c => c.ToString())];
        model.Card = model.Card with { Classes = names };
        model.Save(path);
        using Model again = Model.Open(path);
        using var scope = new Scope();
        Tensor images = RandomModel.Images(RandomModel.Tiny, 5);
        float[] expected = saved.Trace().Run(images).ToArray();
        Assert.Equal(expected, model.Graph.Run(images).ToArray());
        Assert.Equal(expected, again.Graph.Run(images).ToArray());
        Assert.Equal(("noise", "4 blocks of width 24, 37 tokens"), (again.Card.Dataset, again.Description));
        Assert.Equal(names, again.Card.Classes);
        Assert.Equal(agents ? 3 : 0, again.Graph.Nodes.Count(n => n.Op is KeepRowsOp { Rule: { By: KeepBy.Limit }, Prefix: 1 }));
    }

    /// <summary>The model that comes with the repository, on an image that is made up.</summary>
    [Fact]
    public void TheShippedModelGivesTheLogitsThatItGave()
    {
        using Model model = Model.Open(Path.Combine(OnnxRuntime.RepositoryRoot, "models", "apt-fashion-mnist.safetensors"));
        Assert.Equal((1, 28, 10), (model.Channels, model.ImageSize, model.NumClasses));
        Assert.Equal("Ankle boot", model.Card.Classes![9]);
        using var scope = new Scope();
        var image = new Tensor(new Shape(1, 1, 28, 28));
        for (int y = 0; y < 28; y++)
            for (int x = 0; x < 28; x++) image.Span[y * 28 + x] = x is > 8 and < 20 && y > 3 ? 0.5f + 0.01f * y : -1;
        var tokens = new List<int>();
        float[] logits = model.Graph.Run([image], look: (value, t) =>
        {
            if (value.Producer!.Op is KeepRowsOp) tokens.Add(t.Rows!.Rows);
        })[0].ToArray();
        Assert.Equal([8, 7, 1], tokens);
        // tests/goldens/make_shipped.py
        float[] expected = [5.0157f, -0.1731f, -0.5196f, 4.6592f, -1.4467f, -3.8230f, 2.6410f, -3.4530f, -0.8121f, -1.5425f];
        Assert.Equal(expected.Length, logits.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], logits[i], 1e-3f);

        model.SetKeepRule(KeepRule.Count(4));
        tokens.Clear();
        model.Graph.Run([image], look: (value, t) =>
        {
            if (value.Producer!.Op is KeepRowsOp) tokens.Add(t.Rows!.Rows);
        });
        Assert.Equal([5, 5, 5], tokens);
    }

    [Theory]
    [InlineData("resnet20", 3, "resnet20 x 0.5")]
    [InlineData("vit-tiny-28", 1, "6 blocks of width 48, 50 tokens")]
    public void APresetIsMade(string name, int channels, string description)
    {
        bool cnn = name == "resnet20";
        using Model model = Model.Create(name, classes: 4, channels: channels, imageSize: 28, seed: 3, width: cnn ? 0.5 : 1);
        Assert.Equal((channels, 28, 4, name), (model.Channels, model.ImageSize, model.NumClasses, model.Card.Architecture));
        Assert.Equal(description, model.Description);
        using var scope = new Scope();
        Assert.Equal(new Shape(2, 4), model.Graph.Run(Images(2, channels, 28)).Shape);
        if (!cnn) Assert.Contains("widths", Assert.Throws<EspalierException>(() => Model.Create(name, width: 2)).Message);
        Assert.Contains("unknown model 'x'", Assert.Throws<EspalierException>(() => Model.Create("x")).Message);
    }

    private static Tensor Images(int count, int channels, int size)
    {
        var rng = new Rng(7, (ulong)count);
        var images = new Tensor(new Shape(count, channels, size, size));
        Init.Normal(images, 1, ref rng);
        return images;
    }

    /// <summary>Keeps the first entries along each axis.</summary>
    private static void Cut(Tensor tensor, int[] shape)
    {
        var to = new Shape(shape);
        if (to == tensor.Shape) return;
        using var scope = new Scope();
        Tensor part = tensor;
        for (int axis = 0; axis < shape.Length; axis++) part = F.Slice(part, axis, 0, shape[axis]);
        Tensor kept = Tensor.Unscoped(to);
        kept.CopyFrom(part);
        tensor.Exchange(kept);
        kept.Dispose();
    }
}
