using Espalier.Compression;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Compression;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Models;

/// <summary>ONNX Runtime computes from the written file what the network computes, whole or pruned.</summary>
public sealed class CnnOnnxRuntimeTests
{
    private const float Tolerance = 1e-4f;
    private const int Images = 3;

    private static readonly string[] Pruned =
        ["vgg11_bn", "resnet18", "resnet50", "resnet20", "densenet121", "mobilenet_v2", "efficientnet_b0", "xception",
            "shufflenet_v2_x1_0", "mobilenet_v3_small", "convnext_tiny", "regnet_y_400mf", ListNet.Name];

    /// <summary>A network, and after it what is done to it: the last word says which.</summary>
    private static readonly string[] All =
    [
        .. CnnPresets.Names, ListNet.Name, .. Pruned.Select(n => n + " pruned"), "resnet50 opset 23", "densenet121 opset 23",
        "preresnet164 with-lists", "densenet40 with-lists", "resnet20 narrow-branches", "resnet20 without-blocks",
    ];

    public static TheoryData<string> Cases => [.. All];

    [Theory]
    [MemberData(nameof(Cases))]
    public void LogitsAreTheNetworks(string name)
    {
        using var folder = new TempFolder();
        string file = Path.Combine(folder.Path, "net.onnx");
        var (share, expected) = Write(name, file, out float[] images);
        Assert.Equal(name.Split(' ')[^1] is "pruned" or "with-lists" or "narrow-branches" or "without-blocks", share < 1);
        float scale = expected.Max(MathF.Abs);
        Assert.True(scale > 1e-4f, "the logits say nothing");
        foreach (int batch in new[] { 1, Images })
        {
            float[] logits = OnnxRuntime.Floats(OnnxRuntime.Run(file, images, batch)["logits"]);
            Assert.Equal(expected.Length, logits.Length);
            for (int i = 0; i < logits.Length; i++) Assert.Equal(expected[i], logits[i], Tolerance * scale);
        }
    }

    /// <returns>The share of the network's parameters that pruning has left, and its logits.</returns>
    private static (double, float[]) Write(string name, string file, out float[] pixels)
    {
        string[] words = name.Split(' ');
        using Cnn net = Create(words[0]);
        long before = net.ParameterCount;
        Change(net, words[^1]);
        bool training = net.Training;
        OnnxFile.Write(file, net.Trace(), new OnnxOptions { Opset = words[^1] == "23" ? 23 : 17 });
        Assert.Equal(training, net.Training);
        using var scope = new Scope();
        var images = new Tensor(new Shape(Images, net.Channels, net.ImageSize, net.ImageSize));
        var rng = new Rng(5);
        foreach (ref float x in images.Span) x = rng.NextFloat(-1, 1);
        pixels = images.ToArray();
        net.Training = false;
        return ((double)net.ParameterCount / before, net.Forward(images).ToArray());
    }

    private static void Change(Cnn net, string how)
    {
        ResidualBlock[] blocks = [.. net.Descendants<ResidualBlock>()];
        switch (how)
        {
            case "pruned":
                CompressionJobs.Job(net, CompressionMethods.Get("l1") with
                {
                    MoveConstants = true, Selection = new SelectionOptions { Ratio = 0.4, MinKept = 1 },
                }).Run();
                break;
            case "with-lists":
                Cut(net);
                break;
            case "narrow-branches":
                foreach (ResidualBlock block in blocks)
                    block.AddScatter((int)block.Descendants<BatchNorm2d>().Last().Weight.Length);
                Cut(net);
                break;
            case "without-blocks":
                net.RemoveBlocks(net.ResidualBlocks().Where(b => b.Block.HasIdentityShortcut).Select(b => b.Name).Skip(3));
                break;
        }
    }

    /// <summary>Every layer that may lose channels loses one.</summary>
    private static void Cut(Cnn net)
    {
        using Tensor image = Tensor.Unscoped(new Shape(1, net.Channels, net.ImageSize, net.ImageSize));
        image.Fill(0.5f);
        using var graph = DependencyGraph.Build(net.Trace(), image);
        var plan = new RemovalPlan();
        foreach (ChannelGroup group in graph.Groups.Where(g => g.Count > 2)) plan.Add(group, group.Count / 2);
        Removal.Apply(graph, plan);
    }

    /// <summary>Narrow, on images whose sides do not halve evenly.</summary>
    private static Cnn Create(string network) => network switch
    {
        ListNet.Name => ListNet.Create(),
        "vanilla-c3" => CompressionJobs.Net(network, 9),
        _ => CompressionJobs.Net(network, CnnPresets.Get(network).ImageSize == 32 ? 20 : 72),
    };
}
