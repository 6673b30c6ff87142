using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Cli.Tests;

/// <summary>Files of convolutional networks small enough that a test with one takes no time.</summary>
internal static class SmallCnn
{
    /// <summary>Options of a network by name.</summary>
    public static string[] Preset { get; } = ["--model-type", "cifar-vgg11", "--width", "0.125", "--img-size", "16"];

    /// <summary>Data that come with the program.</summary>
    public static string[] Data { get; } = ["--data", "fashion-mnist-sample"];

    /// <summary>Writes one with random weights, and batch norms as if they had seen images.</summary>
    public static string Write(string path, string network = "cifar-vgg11")
    {
        var config = new CnnConfig(network) { Channels = 1, ImageSize = 16, NumClasses = 10, Width = 0.125 };
        using Cnn net = CnnPresets.Create(config);
        var rng = new Rng(7);
        foreach (var (name, values) in net.StateDict())
        {
            if (name.EndsWith("running_mean", StringComparison.Ordinal))
                foreach (ref float x in values.Span) x = 0.2f * (rng.NextFloat() - 0.5f);
            if (name.EndsWith("running_var", StringComparison.Ordinal))
                foreach (ref float x in values.Span) x = 0.5f + rng.NextFloat();
        }
        Model.FromModule(net, new ModelCard
        {
            Dataset = "fashion-mnist-sample", Classes = Espalier.Data.FashionMnist.ClassNames,
        }).Save(path);
        return path;
    }

    /// <summary>Writes one of which `compress` removed channels.</summary>
    public static string WritePruned(string path, string network = "cifar-vgg11")
    {
        string whole = Write(path + ".whole", network);
        Tool.Run("compress", "l1", "--model", whole, "--target-flops", "0.6", "--output", path).MustSucceed();
        return path;
    }
}
