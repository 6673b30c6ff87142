using System.Text.Json.Nodes;
using Espalier.Tensors;

namespace Espalier.Peers;

/// <summary>Training steps, forward and backward and SGD, against PyTorch and against what the processor can do.</summary>
internal static class TrainingTrials
{
    private const string Section = "Training step, fp32";
    private const double VitPeakBar = 0.8, NarrowVitPeakBar = 0.85, CnnPeakBar = 0.65;
    private const double AgreementBar = 1e-3, NarrowBar = 1.5, ConvolutionBar = 2, NarrowAgreementBar = 5e-2;
    private const int AgreementSteps = 3;

    public static IEnumerable<Trial> All()
    {
        yield return Plain("ViT-B/16", 8, bar: 4, VitPeakBar);
        yield return new Trial(Section, "ViT-B/16, batch 8, bf16 products", Narrow, Quick: false);
        foreach (string name in (string[])["ResNet-50", "VGG-16-BN"])
            yield return new Trial(Section, $"{name}, batch 8", b => Convolutional(b, name, 8, ConvolutionBar, CnnPeakBar), Quick: false);
        yield return new Trial(Section, $"{Shapes.SmallCnn}, batch 64", b => Convolutional(b, Shapes.SmallCnn, 64, null, null), Quick: false);
        foreach (string name in Shapes.Fashion) yield return Plain(name, 32, bar: 5, name == "FM-192/49" ? NarrowVitPeakBar : null);
    }

    private static Trial Plain(string model, int batch, double bar, double? peakBar)
    {
        string name = $"{model}, batch {batch}";
        return new Trial(Section, name, bench => Run(bench, name, model, batch, bar, peakBar), Quick: model == "FM-64/49");
    }

    private static IEnumerable<RowResult> Run(Bench bench, string name, string modelName, int batch, double bar,
        double? peakBar)
    {
        VitFiles model = bench.Models.Get(modelName);
        var options = new JsonObject { ["lr"] = 1e-3 };
        using Side ours = bench.Load(bench.Espalier, model, "train", batch, options);
        using Side theirs = bench.Load(bench.Torch, model, "train", batch, options);
        yield return Losses(name, ours, theirs);

        Lane[] lanes = peakBar is not null ? [ours, theirs, bench.Peak(bench.Espalier)] : [ours, theirs];
        Measurement rounds = bench.Measure("training " + name, lanes);
        yield return Times(name, rounds, "PyTorch", bar);
        if (peakBar is not { } aim) yield break;
        double gflop = 2e-9 * batch * WorkDone.TrainingStep(model.Config);
        yield return OfPeak(name, rounds, gflop, aim);
        double theirShare = rounds.Median(r => gflop / r[1] / r[2]);
        yield return new RowResult(Section, $"{name}, PyTorch's share of it", "", $"PyTorch {Units.Gflops(gflop / rounds.Of(1))}",
            Units.Percent(theirShare), "", Verdict.NoBar);
    }

    /// <summary>A step of a convolutional network. Its multiply-adds count three times: forward, and the gradients of inputs and of
    /// weights. With dropout, losses cannot be compared.</summary>
    private static IEnumerable<RowResult> Convolutional(Bench bench, string network, int batch, double? bar, double? peakBar)
    {
        string name = $"{network}, batch {batch}";
        CnnFiles model = bench.Models.Cnn(network);
        // Fifty layers of random weights: steps of 0.001 make differences of thousandths out of rounding, of any two engines.
        var options = new JsonObject { ["lr"] = 1e-6 };
        using Side ours = bench.Load(bench.Espalier, model, "train", batch, options);
        using Side theirs = bench.Load(bench.Torch, model, "train", batch, options);
        if (network != "VGG-16-BN") yield return Losses(name, ours, theirs);
        Measurement rounds = bench.Measure("training " + name, ours, theirs, bench.Peak(bench.Espalier));
        yield return Times(name, rounds, "PyTorch", bar);
        yield return OfPeak(name, rounds, 2e-9 * 3 * batch * model.MultiplyAdds, peakBar);
    }

    /// <summary>Products in bfloat16 against our own in float32.</summary>
    private static IEnumerable<RowResult> Narrow(Bench bench)
    {
        const int batch = 8;
        const string name = "ViT-B/16, batch 8, bf16 products";
        VitFiles model = bench.Models.Get("ViT-B/16");
        using Side narrow = bench.Load(bench.Espalier, model, "train", batch,
            new JsonObject { ["lr"] = 1e-3, ["precision"] = $"{Precision.Bf16}" });
        using Side wide = bench.Load(bench.Espalier, model, "train", batch, new JsonObject { ["lr"] = 1e-3 });
        yield return Losses(name, narrow, wide, "fp32", NarrowAgreementBar);
        Measurement rounds = bench.Measure("training " + name, narrow, wide);
        yield return Times(name, rounds, "our fp32", NarrowBar);
    }

    /// <summary>A step of the first lane against one of the second.</summary>
    private static RowResult Times(string name, Measurement rounds, string peer, double? bar)
    {
        double ratio = rounds.Ratio(1, 0);
        return new RowResult(Section, name, $"{Units.Milliseconds(rounds.Of(0))} a step",
            $"{peer} {Units.Milliseconds(rounds.Of(1))}", Units.Times(ratio), bar is { } b ? $"≥ {Units.Times(b)}" : "", Decided(ratio, bar));
    }

    /// <summary>The first lane's share of what the third one measured.</summary>
    /// <param name="gflop">Of a step.</param>
    private static RowResult OfPeak(string name, Measurement rounds, double gflop, double? bar)
    {
        double share = rounds.Median(r => gflop / r[0] / r[2]);
        return new RowResult(Section, $"{name}, of the FMA peak", Units.Gflops(gflop / rounds.Of(0)),
            $"peak {Units.Gflops(rounds.Of(2))}", Units.Percent(share), bar is { } b ? $"≥ {Units.Percent(b)}" : "", Decided(share, bar));
    }

    private static Verdict Decided(double figure, double? bar) => bar is { } b ? RowResult.Decide(figure >= b) : Verdict.NoBar;

    /// <summary>The losses of the first steps: each depends on the gradients of those before.</summary>
    private static RowResult Losses(string name, Side ours, Side theirs, string peer = "PyTorch", double bar = AgreementBar)
    {
        double difference = 0;
        for (int step = 0; step < AgreementSteps; step++)
            difference = Math.Max(difference, Agreement.Relative(ours.Output(), theirs.Output()));
        return new RowResult(Section, $"{name}, loss of {AgreementSteps} steps", "", peer, Units.Small(difference),
            $"≤ {Units.Small(bar)}", RowResult.Decide(difference <= bar));
    }
}
