using Espalier.Compression;
using Espalier.Data;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Compression;

/// <summary>Small networks and a few images of the embedded sample, for tests of compression methods.</summary>
internal static class CompressionJobs
{
    public static TrainingData Data(int imageSize, int images = 96, int channels = 1)
    {
        DatasetPair sample = Datasets.OpenSample();
        ImagePipeline pipeline = ImagePipeline.Eval(imageSize, channels);
        return new TrainingData(new Subset(sample.Train, [.. Enumerable.Range(0, images)]), pipeline,
            new Subset(sample.Test, [.. Enumerable.Range(0, 64)]), pipeline);
    }

    /// <summary>A narrow network on grey images, with batch norm statistics that are not those of the beginning.</summary>
    public static Cnn Net(string name, int imageSize = 16, double width = 0.25, ulong seed = 1)
    {
        Cnn net = CnnPresets.Create(new CnnConfig(name) { ImageSize = imageSize, Channels = 1, NumClasses = 10, Width = width }, seed);
        var rng = new Rng(seed, key0: 99);
        foreach (var (key, tensor) in net.StateDict())
        {
            if (tensor.Rank != 1 || key.EndsWith(".index", StringComparison.Ordinal)) continue;
            bool positive = key.EndsWith("running_var", StringComparison.Ordinal) || key.EndsWith("weight", StringComparison.Ordinal);
            foreach (ref float x in tensor.Span) x = positive ? 0.5f + rng.NextFloat() : 0.4f * (rng.NextFloat() - 0.5f);
        }
        ScaleLogits(net, ref rng);
        return net;
    }

    /// <summary>
    /// Brings logits to at most 1, so that differences of them mean something: DenseNet's random norms let them grow to
    /// thousands, whose rounding errors alone are above the bounds of the tests.
    /// </summary>
    private static void ScaleLogits(Cnn net, ref Rng rng)
    {
        using var scope = new Scope();
        var images = new Tensor(new Shape(4, net.Channels, net.ImageSize, net.ImageSize));
        foreach (ref float x in images.Span) x = rng.NextFloat(-1, 1);
        net.Training = false;
        float largest = net.Forward(images).ToArray().Max(MathF.Abs);
        net.Training = true;
        Linear head = net.Descendants<Linear>().Last();
        foreach (Tensor t in new[] { head.Weight, head.Bias! })
            foreach (ref float x in t.Span) x /= Math.Max(1, largest);
    }

    /// <summary>A vision transformer of two blocks; and ones whose patches come of a small ResNet, and of some convolutions.</summary>
    public const string TinyVit = "tiny-vit", TinyHybrid = "tiny-hybrid", TinyConvolutions = "tiny-convolutions";

    /// <summary>The same as a model; also <see cref="TinyVit"/> and <see cref="TinyConvolutions"/>, of 8 pixels, and
    /// <see cref="TinyHybrid"/>, of 32.</summary>
    /// <param name="blocks">Of a transformer.</param>
    public static Model Model(string name, int imageSize = 16, double width = 0.25, ulong seed = 1, int blocks = 2)
    {
        if (name is not (TinyVit or TinyHybrid or TinyConvolutions)) return Espalier.Model.FromModule(Net(name, imageSize, width, seed));
        var vit = new VisionTransformer(new VitConfig
        {
            ImageSize = imageSize, PatchSize = name == TinyVit ? 4 : 1, Channels = name == TinyHybrid ? 3 : 1, HiddenSize = 12, MlpDim = 20,
            NumHeads = 3, NumLayers = blocks, NumClasses = 10, Stem = name switch
            {
                TinyVit => VitStem.Patches,
                TinyConvolutions => VitStem.Convolutions,
                _ => VitStem.ResNet50,
            },
        }, seed);
        var rng = new Rng(seed, key0: 98);
        foreach (Tensor p in vit.Parameters().Where(p => p.Rank == 1 || p.Shape[0] == 10)) Init.Normal(p, 0.3f, ref rng);
        return Espalier.Model.FromModule(vit);
    }

    public static CompressionJob Job(ImageClassifier net, CompressionOptions options) =>
        Job(Espalier.Model.FromModule(net, new ModelCard { Preprocessing = Preprocessing.Half(net.ImageSize, net.Channels) }), options);

    public static CompressionJob Job(Model model, CompressionOptions options) =>
        new(model, Data(model.ImageSize, channels: model.Channels), options with
        {
            Training = options.Training with { BatchSize = 16, DataThreads = 0 }, RankBatches = Math.Min(options.RankBatches, 3),
        });
}
