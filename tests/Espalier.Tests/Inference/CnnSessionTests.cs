using Espalier.Compression;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tests.Models;
using Espalier.Tensors.Threading;

namespace Espalier.Tests.Inference;

/// <summary>Every network: a session's logits are those of the modules.</summary>
[Collection("Workers")]
public sealed class CnnSessionTests
{
    public static TheoryData<string> Networks => [.. CnnPresets.Names];

    [Theory]
    [MemberData(nameof(Networks))]
    public void LogitsAreThoseOfTheModules(string name)
    {
        using Cnn net = CnnNets.Create(name, SmallSize(name));
        CnnNets.AssertSame(net);
    }

    /// <summary>Odd numbers of channels, grey images, a size that poolings do not divide.</summary>
    [Theory]
    [InlineData("vgg11_bn", 45)]
    [InlineData("resnet50", 45)]
    [InlineData("resnet20", 21)]
    [InlineData("densenet121", 45)]
    [InlineData("mobilenet_v2", 45)]
    [InlineData("efficientnet_b0", 45)]
    [InlineData("mobilenet_v3_large", 45)]
    [InlineData("convnext_tiny", 45)]
    [InlineData("regnet_y_400mf", 45)]
    [InlineData("xception", 75)]
    [InlineData("shufflenet_v2_x1_0", 45)]
    public void OddShapes(string name, int size)
    {
        using Cnn net = CnnNets.Create(name, size, width: 0.15, channels: 1);
        CnnNets.AssertSame(net);
    }

    /// <summary>What pruning may leave in the end, and the smallest classifier there is.</summary>
    [Theory]
    [InlineData("vgg11_bn", 32)]
    [InlineData("resnet20", 17)]
    [InlineData("preresnet20", 17)]
    [InlineData("densenet40", 17)]
    [InlineData("densenet121", 33)]
    [InlineData("mobilenet_v2", 33)]
    [InlineData("efficientnet_b0", 33)]
    [InlineData("shufflenet_v2_x1_0", 33)]
    public void LayersOfOneChannelAndOneClass(string name, int size)
    {
        using Cnn net = CnnPresets.Create(
            new CnnConfig(name) { ImageSize = size, NumClasses = 1, Width = 0.001, Channels = 1 });
        CnnNets.Randomise(net);
        CnnNets.AssertSame(net);
    }

    [Theory]
    [InlineData("vgg16_bn")]
    [InlineData("resnet18")]
    [InlineData("resnet50")]
    [InlineData("resnet20")]
    [InlineData("preresnet20")]
    [InlineData("densenet40")]
    [InlineData("densenet121")]
    [InlineData("mobilenet_v2")]
    [InlineData("efficientnet_b0")]
    [InlineData("mobilenet_v3_small")]
    [InlineData("convnext_tiny")]
    [InlineData("regnet_y_400mf")]
    [InlineData("xception")]
    [InlineData("shufflenet_v2_x1_0")]
    public void WithoutSomeChannels(string name)
    {
        using Cnn net = CnnNets.Create(name, SmallSize(name), width: 0.125);
        Prune(net, 0.3f);
        CnnNets.AssertSame(net);
    }

    /// <summary>All ways to spread the work over threads.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void AnyNumberOfThreadsAndImages(int threads)
    {
        using Cnn net = CnnNets.Create("resnet18", 33);
        using Session session = Session.Of(net);
        int before = Workers.Threads;
        try
        {
            Workers.Threads = threads;
            foreach (int count in (int[])[0, 1, 2, 5, 19])
            {
                float[] images = CnnNets.Images(net, count), logits = new float[count * 7];
                session.Run(images, count, logits);
                float[] expected = count == 0 ? [] : CnnNets.Forward(net, images, count);
                for (int i = 0; i < logits.Length; i++) Assert.Equal(expected[i], logits[i], 1e-4f * expected.Max(Math.Abs));
            }
        }
        finally
        {
            Workers.Threads = before;
        }
    }

    [Theory]
    [InlineData("densenet121", 1)]
    [InlineData("densenet121", 4)]
    [InlineData("efficientnet_b0", 4)]
    public void AWarmRunAllocatesNothing(string name, int count)
    {
        using Cnn net = CnnNets.Create(name, 32);
        using Session session = Session.Of(net);
        float[] images = CnnNets.Images(net, count), logits = new float[count * 7];
        Allocations.AssertNone(() => session.Run(images, count, logits));
    }

    /// <summary>The session took the weights: what becomes of the network does not matter to it.</summary>
    [Fact]
    public void ASessionKeepsItsWeights()
    {
        using Cnn net = CnnNets.Create("resnet20", 16);
        float[] images = CnnNets.Images(net, 1), first = new float[7], second = new float[7];
        using Session session = Session.Of(net);
        session.Run(images, 1, first);
        foreach (Tensor p in net.Parameters()) p.Fill(0);
        session.Run(images, 1, second);
        Assert.Equal(first, second);
    }

    [Fact]
    public void TellsWhatItIs()
    {
        using Cnn net = CnnNets.Create("resnet20", 16);
        net.Training = true;
        using Session session = Session.Of(net);
        Assert.True(net.Training);
        Assert.Equal((7, 3, 16), (session.NumClasses, session.Channels, session.ImageSize));
        Assert.Equal("resnet20 x 0.25", session.Description);
        using var scope = new Scope();
        net.Training = false;
        using var recording = new Recording(gradients: false);
        net.Forward(Tensor.Zeros(new Shape(1, 3, 16, 16)));
        Assert.Equal(recording.Cost.MultiplyAdds, session.DenseMultiplyAdds);
        Assert.True(session.WeightBytes >= sizeof(float) * net.Parameters().Where(p => p.Rank > 1).Sum(p => p.Length));
        Assert.Throws<ArgumentException>(() => session.Run(new float[3], 1, new float[7]));
        Assert.Throws<ArgumentException>(() => session.Run(new float[3 * 16 * 16], 1, new float[6]));
    }

    [Fact]
    public void OpensFilesAndRefusesDamagedOnes()
    {
        string path = Path.Combine(Path.GetTempPath(), $"espalier-{Guid.NewGuid():n}.safetensors");
        try
        {
            using Cnn net = CnnNets.Create("mobilenet_v2", 32, width: 0.125);
            Prune(net, 0.3f);
            FormatOne.Save(path, net, new CnnStructure { Config = net.Config, ClassNames = ["a", "b", "c", "d", "e", "f", "g"] });
            using (Session session = Session.Open(path))
            {
                Assert.Equal("g", session.ClassNames![6]);
                CnnNets.AssertSame(net, session);
            }
            byte[] bytes = File.ReadAllBytes(path);
            File.WriteAllBytes(path, bytes[..^100]);
            Assert.DoesNotContain('\n', Assert.Throws<EspalierException>(() => Session.Open(path)).Message);
            Assert.Throws<EspalierException>(() => Session.Of(net, new SessionOptions { Precision = Precision.Int8 }));
            Assert.Throws<EspalierException>(() => Session.Of(net, new SessionOptions { Pruning = Pruning.KeepShare(0.5) }));
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static int SmallSize(string name) => name switch
    {
        "xception" => 71,
        "vanilla-c3" => 12,
        _ => CnnPresets.Get(name).ImageSize == 32 ? 16 : 33,
    };

    private static void Prune(Cnn net, float share)
    {
        using var scope = new Scope();
        Tensor image = Tensor.Zeros(new Shape(1, net.Channels, net.ImageSize, net.ImageSize));
        using var graph = DependencyGraph.Build(net.Trace(), image);
        var rng = new Rng(3);
        var plan = new RemovalPlan();
        foreach (ChannelGroup group in graph.Groups)
            for (int k = 1; k < group.Count; k++)
                if (rng.NextFloat(0, 1) < share) plan.Add(group, k);
        Removal.Apply(graph, plan);
    }
}
