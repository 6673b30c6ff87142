using System.Text.Json.Nodes;
using Espalier.Tensors;

namespace Espalier.Peers;

/// <summary>A row's figures in one run.</summary>
/// <param name="Format">A figure with its unit.</param>
/// <param name="Bar">How many times the old figure the new one may be.</param>
/// <param name="Rounds">[rounds][old, new]; less is better.</param>
internal sealed record BuildFigures(string Name, Func<double, string> Format, double Bar, double[][] Rounds);

/// <summary>Something that two builds are timed at.</summary>
/// <param name="Name">Of its row, or what its rows have in common.</param>
internal sealed record BuildTrial(string Section, string Name, Func<BuildPair, IEnumerable<BuildFigures>> Run)
{
    /// <summary>How much slower a row may become, and how much more memory or time to start it may take.</summary>
    public const double SpeedBar = 1.02, ResourceBar = 1.03;

    /// <summary>Every network that is held against the peers, without the peers.</summary>
    public static IEnumerable<BuildTrial> All() =>
    [
        .. Shapes.Large.SelectMany(name => Dense(name, 1, 8)),
        .. Shapes.Fashion.SelectMany(name => Dense(name, 1, 64)),
        Timed("Dense inference, fp32, AVX2 only", "ViT-B/16, batch 8", m => m.Get("ViT-B/16"), "infer", 8, avx2: true),
        .. Apt(1),
        .. Apt(16),
        LowPrecision("int8", Precision.Int8),
        LowPrecision("bf16", Precision.Bf16),
        LowPrecision("int8, APT keeping half at each agent", Precision.Int8, keepShare: 0.5),
        .. Shapes.Cnns.SelectMany(name => Cnn(name, name, 1)),
        .. Cnn($"{Shapes.PrunedCnn} pruned", Shapes.PrunedCnn, Shapes.PrunedShare),
        First(1),
        First(8),
        Training("ViT-B/16", 8),
        .. Shapes.Fashion.Select(name => Training(name, 32)),
        CnnTraining("ResNet-50", 8),
        CnnTraining("VGG-16-BN", 8),
        AptTraining("nothing pruned", 1),
        AptTraining("pruned to half of the MACs", 0.5),
    ];

    private static IEnumerable<BuildTrial> Dense(string model, params int[] batches) => batches.Select(batch =>
        Timed("Dense inference, fp32", $"{model}, batch {batch}", m => m.Get(model), "infer", batch));

    private static IEnumerable<BuildTrial> Apt(int batch) => AptTrials.Shares.Select(share => Timed("APT inference, fp32",
        $"ViT-B/16, batch {batch}, keep {Units.Two(share)}", m => m.Get("ViT-B/16", agents: true), "infer", batch,
        new JsonObject { ["keepShare"] = share }));

    private static BuildTrial LowPrecision(string what, Precision precision, double? keepShare = null)
    {
        var options = new JsonObject { ["precision"] = precision.ToString() };
        if (keepShare is { } share) options["keepShare"] = share;
        return Timed("Low precision", $"ViT-B/16, batch 8, {what}", m => m.Get("ViT-B/16", agents: keepShare is not null),
            "infer", 8, options);
    }

    private static IEnumerable<BuildTrial> Cnn(string what, string network, double keep) => new[] { 1, 8 }.Select(batch =>
        Timed("Convolutional networks, fp32", $"{what}, batch {batch}", m => m.Cnn(network, keep), "infer", batch));

    private static BuildTrial Training(string model, int batch) => Timed("Training step, fp32", $"{model}, batch {batch}",
        m => m.Get(model), "train", batch, new JsonObject { ["lr"] = 1e-3 });

    private static BuildTrial CnnTraining(string model, int batch) => Timed("Training step, fp32", $"{model}, batch {batch}",
        m => m.Cnn(model), "train", batch, new JsonObject { ["lr"] = 1e-6 });

    private static BuildTrial AptTraining(string what, double share) => Timed("APT training step, fp32",
        $"ViT-B/16, batch 8, {what}", m => m.Get("ViT-B/16", agents: true), "train-apt", 8, new JsonObject { ["share"] = share });

    private static BuildTrial Timed(string section, string name, Func<ModelFolder, ModelFiles> model, string task, int batch,
        JsonObject? options = null, bool avx2 = false) => new(section, name, pair =>
            [new BuildFigures(name, Units.Milliseconds, SpeedBar, pair.Seconds(model(pair.Models), task, batch, options, avx2))]);

    private static BuildTrial First(int batch)
    {
        string name = $"ViT-B/16, batch {batch}";
        return new BuildTrial("Memory and start-up", name, pair =>
        {
            var (seconds, peak) = pair.FirstPrediction(pair.Models.Get("ViT-B/16"), batch);
            return
            [
                new BuildFigures($"{name}, process start to first prediction", Units.Milliseconds, ResourceBar, seconds),
                new BuildFigures($"{name}, peak memory", Units.Megabytes, ResourceBar, peak),
            ];
        });
    }
}
