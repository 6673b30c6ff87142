using Espalier.Compression;
using Espalier.Data;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Compression;

/// <summary>Small networks and a few images of the embedded sample, for tests of compression methods.</summary>
internal static class CompressionJobs
{
    public static TrainingData Data(int imageSize, int images = 96)
    {
        DatasetPair sample = Datasets.OpenSample();
        ImagePipeline pipeline = ImagePipeline.Eval(imageSize, 1);
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
            if (tensor.Rank != 1) continue;
            bool positive = key.EndsWith("running_var", StringComparison.Ordinal) || key.EndsWith("weight", StringComparison.Ordinal);
            foreach (ref float x in tensor.Span) x = positive ? 0.5f + rng.NextFloat() : 0.4f * (rng.NextFloat() - 0.5f);
        }
        return net;
    }

    public static CompressionJob Job(Cnn net, CompressionOptions options, Action<string>? log = null) =>
        new(net, Data(net.ImageSize), options with { Training = options.Training with { BatchSize = 16, DataThreads = 0 },
            RankBatches = Math.Min(options.RankBatches, 3) }, log: log);
}
