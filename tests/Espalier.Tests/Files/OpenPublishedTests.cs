using System.Text.Json;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Tests.Compression;

namespace Espalier.Tests.Files;

/// <summary>Weights that others published, of which the file says nothing but names and shapes.</summary>
public sealed class OpenPublishedTests : IDisposable
{
    private static readonly VitConfig Vit = new()
    {
        ImageSize = 12, PatchSize = 4, HiddenSize = 16, MlpDim = 32, NumHeads = 2, NumLayers = 2, NumClasses = 5,
    };

    private readonly string path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.safetensors");

    public void Dispose() => File.Delete(path);

    [Theory]
    [InlineData("google_target.npz", "google", 12, 3, false)]
    [InlineData("google_newer.npz", "google", 12, 3, false)]
    [InlineData("deit.pth", "deit", 8, 3, true)]
    [InlineData("port.bin", "resized", 20, 1, false)]
    public void TransformersGiveTheReferencesLogits(string file, string golden, int size, int channels, bool distilled)
    {
        VitConfig config = Vit with { ImageSize = size, Channels = channels, Distilled = distilled };
        using Model model = Model.Open(Golden(file), new OpenOptions { Config = config });
        Assert.Equal((size, channels, 5), (model.ImageSize, model.Channels, model.NumClasses));
        // The optimiser's state.
        Assert.Equal(file == "google_target.npz" ? 2 : 0, model.Report.Unexpected.Count);
        string[] stretched = golden == "resized" ? ["transformer.embeddings.position_embeddings [1,10,16] -> [1,26,16]"] : [];
        Assert.Equal(stretched, model.Report.Resized);
        AssertLogits(golden, model.Graph);
        model.Save(path);
        using Model read = Model.Open(path);
        AssertLogits(golden, read.Graph);
    }

    /// <summary>Pre-trained weights have a layer in front of the head, which goes with the head.</summary>
    [Fact]
    public void WhatIsInFrontOfAPretrainedHeadGoesWithIt()
    {
        string google = Golden("google.npz");
        using (Model whole = Model.Open(google, new OpenOptions { Config = Vit }))
            Assert.Single(whole.Graph.Nodes, n => n.Op is TanhOp);
        using Model model = Model.Open(google, new OpenOptions { Config = Vit, Classes = 3 });
        Assert.Equal(3, model.NumClasses);
        Assert.Equal(["head.weight", "head.bias"], model.Report.Replaced);
        Assert.All(model.Graph.Weights["head.weight"].Tensor.ToArray(), w => Assert.Equal(0, w));
    }

    [Fact]
    public void WhatTheTensorsSayIsNotAsked()
    {
        // The preset's numbers but for classes, channels and image size.
        VitConfig tiny = VitPresets.Get("vit-tiny-28") with { NumClasses = 6, Channels = 3, ImageSize = 20 };
        using (var vit = new VisionTransformer(tiny)) Write(vit);
        using (Model model = Model.Open(path, new OpenOptions { Architecture = "vit-tiny-28" }))
            Assert.Equal((20, 3, 6), (model.ImageSize, model.Channels, model.NumClasses));
        using (Model model = Model.Open(path, new OpenOptions { Architecture = "vit-tiny-28", ImageSize = 28, Classes = 2 }))
        {
            Assert.Equal((28, 3, 2), (model.ImageSize, model.Channels, model.NumClasses));
            Assert.Single(model.Report.Resized);
            Assert.Equal(28, model.Card.Preprocessing!.Size);
            using var scope = new Scope();
            Assert.Equal(new Shape(1, 2), model.Graph.Run(new Tensor(new Shape(1, 3, 28, 28))).Shape);
        }
        using Cnn cnn = CnnPresets.Create(CnnPresets.Get("resnet18") with { NumClasses = 7, Channels = 1 });
        Write(cnn);
        using (Model model = Model.Open(path, new OpenOptions { Architecture = "resnet18" }))
        {
            Assert.Equal((224, 1, 7), (model.ImageSize, model.Channels, model.NumClasses));
            Assert.Equal("resnet18", model.Card.Architecture);
            Assert.Empty(model.Report.Unexpected);
        }
        using (Model model = Model.Open(path, new OpenOptions { Architecture = "resnet18", ImageSize = 64, Classes = 3 }))
        {
            Assert.Equal((64, 3), (model.ImageSize, model.NumClasses));
            Assert.Equal(Preprocessing.Preset("imagenet", 64, 1), model.Card.Preprocessing);
            Assert.Equal(["fc.weight", "fc.bias"], model.Report.Replaced);
            Assert.Contains(model.Graph.Weights["fc.weight"].Tensor.ToArray(), w => w != 0);
        }
        Assert.Contains("give its name as Architecture", Refused(path, new OpenOptions()));
        string other = Refused(path, new OpenOptions { Architecture = "resnet50" });
        Assert.Contains("it is not of resnet50", other);
        Assert.Contains("1 tensors that have no place in resnet18 (extra.weight)", Refused(path,
            new OpenOptions { Architecture = "resnet18" }, "extra.weight"));
    }

    /// <summary>Network Slimming's code keeps a one or zero for each channel where the list here has numbers.</summary>
    [Fact]
    public void PublishedListsOfChannelsAreReadAsSuch()
    {
        using Cnn net = CompressionJobs.Net("preresnet20", width: 1);
        net.Training = false;
        Tensor index = net.StateDict().First(s => s.Name.EndsWith(".index", StringComparison.Ordinal)).Value;
        Write(net, name => name.EndsWith(".index", StringComparison.Ordinal) ? name + "es" : name,
            values => values.Select(_ => 1f).ToArray());
        using Model model = Model.Open(path, new OpenOptions { Architecture = "preresnet20", ImageSize = 16 });
        using var scope = new Scope();
        var images = Tensor.Full(new Shape(2, 1, 16, 16), 0.3f);
        Assert.Equal(net.Forward(images).ToArray(), model.Graph.Run(images).ToArray());
        Assert.True(index.Length > 0);

        Write(net, name => name.EndsWith(".index", StringComparison.Ordinal) ? name + "es"
            : name, values => new float[values.Length]);
        Assert.Contains("picks no channel", Refused(path, new OpenOptions { Architecture = "preresnet20" }));
    }

    [Fact]
    public void AWeightThatIsMissingOrNoNumberIsNamed()
    {
        using Cnn net = CompressionJobs.Net("resnet20", width: 1);
        var options = new OpenOptions { Architecture = "resnet20" };
        foreach (string missing in new[] { "layer2.0.bn1.running_var", "linear.weight", "conv1.weight" })
        {
            Write(net, name => name == missing ? null : name);
            Assert.Contains(missing, Refused(path, options));
        }
        Write(net);
        net.Parameters().Skip(4).First().Span[3] = float.NaN;
        Write(net);
        Assert.Contains("NaN", Refused(path, options));
    }

    private void Write(Module net, Func<string, string?>? rename = null, Func<float[], float[]>? lists = null) =>
        Safetensors.Write(path, net.StateDict().Where(s => rename is null || rename(s.Name) is not null).Select(s =>
        {
            float[] values = s.Value.ToArray();
            if (lists is not null && s.Name.EndsWith(".index", StringComparison.Ordinal)) values = lists(values);
            return new NamedArray(rename?.Invoke(s.Name) ?? s.Name, s.Value.Shape.ToArray(), values);
        }));

    private string Refused(string file, OpenOptions options, string? extra = null)
    {
        if (extra is not null)
        {
            Checkpoint all = CheckpointFile.Read(file);
            Safetensors.Write(path, all.Arrays.Values.Append(new NamedArray(extra, [1], [1])));
        }
        string message = Assert.Throws<EspalierException>(() => Model.Open(file, options).Dispose()).Message;
        Assert.StartsWith(file, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
        return message;
    }

    private static string Golden(string file) => Path.Combine(AppContext.BaseDirectory, "Goldens", "Vit", file);

    private static void AssertLogits(string name, Graph graph)
    {
        using JsonDocument all = JsonDocument.Parse(File.ReadAllText(Golden("expected.json")));
        JsonElement golden = all.RootElement.GetProperty(name);
        float[] pixels = [.. golden.GetProperty("images").EnumerateArray().Select(v => v.GetSingle())];
        int size = golden.GetProperty("size").GetInt32(), channels = golden.GetProperty("channels").GetInt32();
        using var scope = new Scope();
        float[] actual = graph.Run(Tensor.From(new Shape(2, channels, size, size), pixels)).ToArray();
        float[] expected =
            [.. golden.GetProperty("logits").EnumerateArray().SelectMany(r => r.EnumerateArray()).Select(v => v.GetSingle())];
        Assert.True(expected.Max(MathF.Abs) > 0.5f);
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 1e-4f);
    }
}
