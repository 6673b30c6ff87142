using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Tests.Models;

namespace Espalier.Tests.Inference;

/// <summary>Small models with weights large enough for agents that disagree, and noise to run through them.</summary>
internal static class SessionModel
{
    public static readonly VitConfig Config = new()
    {
        ImageSize = 32, PatchSize = 4, Channels = 1, HiddenSize = 24, MlpDim = 40, NumHeads = 3, NumLayers = 5, NumClasses = 6,
    };

    public static AgentModel New(bool distilled = false, int[]? layers = null, int depth = 5)
    {
        VitConfig config = Config with { Distilled = distilled, NumLayers = depth };
        var model = new AgentModel(new VisionTransformer(config), layers ?? [0, 2, 3]);
        Shuffle(model.Model.Graph.Parameters);
        return model;
    }

    /// <summary>Every parameter random, so that none is left out unseen.</summary>
    public static void Shuffle(Module model) => Shuffle(model.NamedParameters());

    private static void Shuffle(IEnumerable<(string Name, Tensor Value)> parameters)
    {
        var rng = new Rng(11);
        foreach (var (name, value) in parameters)
        {
            bool gain = value.Rank == 1 && name.EndsWith("weight", StringComparison.Ordinal);
            float size = value.Rank == 1 ? 0.1f : 1.2f / MathF.Sqrt(value.Length / value.Shape[0]);
            foreach (ref float x in value.Span) x = (gain ? 1 : 0) + size * rng.NextNormal();
        }
    }

    public static float[] Images(int batch, VitConfig? config = null)
    {
        VitConfig c = config ?? Config;
        var rng = new Rng(3);
        var images = new float[batch * c.Channels * c.ImageSize * c.ImageSize];
        foreach (ref float x in images.AsSpan()) x = rng.NextNormal();
        return images;
    }

    public static Tensor Tensor(float[] images, int batch, VitConfig? config = null)
    {
        VitConfig c = config ?? Config;
        return Tensors.Tensor.From(new Shape(batch, c.Channels, c.ImageSize, c.ImageSize), images);
    }

    /// <summary>Within <paramref name="tolerance"/> of the largest expected value.</summary>
    public static void AssertClose(float[] expected, float[] actual, double tolerance = 1e-4)
    {
        Assert.Equal(expected.Length, actual.Length);
        double scale = expected.Max(Math.Abs);
        Assert.True(scale > 0.01, "nothing to compare");
        for (int i = 0; i < expected.Length; i++)
            Assert.True(Math.Abs(expected[i] - actual[i]) <= tolerance * scale, $"{i}: {actual[i]} for {expected[i]}, scale {scale}");
    }
}
