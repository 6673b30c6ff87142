using Espalier.Inference;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Inference;

/// <summary>Networks whose batch norms have something to fold, and the comparison of a session with the modules.</summary>
internal static class CnnNets
{
    public static Cnn Create(string name, int size, double width = 0.25, int channels = 3)
    {
        Cnn net = CnnPresets.Create(new CnnConfig(name) { ImageSize = size, NumClasses = 7, Width = width, Channels = channels });
        Randomise(net);
        return net;
    }

    public static void Randomise(Module net)
    {
        var rng = new Rng(1);
        foreach (var (name, t) in net.StateDict())
        {
            if (name.EndsWith("running_var")) Init.Uniform(t, 0.5f, 1.5f, ref rng);
            else if (t.Rank == 1 && name.EndsWith("weight")) Init.Uniform(t, 0.5f, 1.5f, ref rng);
            else if (t.Rank == 1 && !name.EndsWith("index")) Init.Uniform(t, -0.2f, 0.2f, ref rng);
        }
    }

    public static float[] Images(Cnn net, int count, ulong seed = 5)
    {
        var rng = new Rng(seed);
        float[] images = new float[count * net.Channels * net.ImageSize * net.ImageSize];
        for (int i = 0; i < images.Length; i++) images[i] = rng.NextFloat(-2, 2);
        return images;
    }

    public static float[] Forward(Cnn net, float[] images, int count)
    {
        using var scope = new Scope();
        net.Training = false;
        return net.Forward(Tensor.From(new Shape(count, net.Channels, net.ImageSize, net.ImageSize), images)).ToArray();
    }

    /// <summary>Logits of one image and of three against the modules' own.</summary>
    public static void AssertSame(Cnn net)
    {
        using Session session = Session.Of(net);
        AssertSame(net, session);
    }

    public static void AssertSame(Cnn net, Session session)
    {
        foreach (int count in (int[])[3, 1])
        {
            float[] images = Images(net, count), expected = Forward(net, images, count), logits = new float[expected.Length];
            session.Run(images, count, logits);
            float scale = expected.Max(Math.Abs);
            Assert.True(scale > 1e-3f, "the logits say nothing");
            for (int i = 0; i < logits.Length; i++) Assert.Equal(expected[i], logits[i], 1e-4f * scale);
        }
    }
}
