using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Models;

/// <summary>Every preset's graph gives what its module gives, bit for bit, in evaluation and in training.</summary>
[Collection("Workers")]
public sealed class TraceTests
{
    public static TheoryData<string> ConvolutionalNetworks => [.. CnnPresets.Names];

    public static TheoryData<string> Transformers => ["vit-tiny-28", "tiny-distilled", "tiny-hybrid", "tiny-hybrid-torch", "tiny-conv"];

    [Theory]
    [MemberData(nameof(ConvolutionalNetworks))]
    public void A_convolutional_networks_graph_is_the_network(string name)
    {
        CnnConfig published = CnnPresets.Get(name);
        CnnConfig config = published with { NumClasses = 5, Width = 0.125, ImageSize = published.ImageSize > 64 ? 64 : 32 };
        using Cnn net = CnnPresets.Create(config, seed: 3);
        Compare(net, net.Trace());
    }

    [Theory]
    [MemberData(nameof(Transformers))]
    public void A_transformers_graph_is_the_transformer(string name)
    {
        using VisionTransformer vit = Transformer(name);
        Compare(vit, vit.Trace());
    }

    private static VisionTransformer Transformer(string name)
    {
        VitConfig config = VitPresets.Get("vit-tiny-28");
        config = name switch
        {
            "tiny-distilled" => config with { Distilled = true },
            "tiny-hybrid" => config with { Stem = VitStem.ResNet50, ImageSize = 32, PatchSize = 1 },
            "tiny-conv" => config with { Stem = VitStem.Convolutions, PatchSize = 1 },
            "tiny-hybrid-torch" => config with { Stem = VitStem.ResNet50Torch, ImageSize = 32, PatchSize = 1 },
            _ => config,
        };
        var vit = new VisionTransformer(config) { DropoutRate = 0.1f };
        var rng = new Rng(2);
        foreach (var (key, head) in vit.NamedParameters().Where(p => p.Name.StartsWith("head", StringComparison.Ordinal)))
            Init.Normal(head, 0.5f, ref rng);
        return vit;
    }

    private static void Compare(ImageClassifier net, Graph graph)
    {
        foreach (int batch in new[] { 1, 3, 16 })
        {
            using var scope = new Scope();
            Tensor images = Images(net.Channels, net.ImageSize, batch);
            net.Training = false;
            Assert.Equal(net.Forward(images).ToArray(), graph.Run(images).ToArray());
        }
        using var outer = new Scope();
        Tensor input = Images(net.Channels, net.ImageSize, 4);
        net.Training = true;
        // Batch norms note the batch's statistics: both begin from the same.
        (Tensor Buffer, float[] Before)[] buffers = [.. net.NamedBuffers().Select(b => (b.Value, b.Value.ToArray()))];
        float[][] module = Step(net, () => net.Forward(input));
        foreach (var (buffer, before) in buffers) before.CopyTo(buffer.Span);
        float[][] traced = Step(net, () => graph.Run(input, new RunContext(Training: true)));
        for (int i = 0; i < module.Length; i++) Assert.Equal(module[i], traced[i]);
    }

    /// <summary>The loss, all gradients, and what the step left in the buffers.</summary>
    private static float[][] Step(ImageClassifier net, Func<Tensor> forward)
    {
        var rng = new Rng(11);
        Dropout.Seed(net, ref rng);
        using var scope = new Scope();
        using var recording = new Recording();
        Tensor loss = F.CrossEntropy(forward(), [1, 0, 4, 2]);
        recording.Backward(loss);
        float[][] result =
        [
            [loss.Item()], .. net.Parameters().Select(p => p.Grad?.ToArray() ?? []),
            .. net.NamedBuffers().Select(b => b.Value.ToArray()),
        ];
        net.ClearGrads();
        return result;
    }

    private static Tensor Images(int channels, int size, int count)
    {
        var rng = new Rng(7, (ulong)count);
        var images = new Tensor(new Shape(count, channels, size, size));
        Init.Normal(images, 1, ref rng);
        return images;
    }

    private static void Close(float[] expected, float[] actual)
    {
        float scale = 1e-5f * Math.Max(1, expected.Max(MathF.Abs));
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], scale);
    }
}
