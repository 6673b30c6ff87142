using System.CommandLine;
using Espalier.Benchmarking;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;
using Spectre.Console;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier profile`: parameters, multiply-adds, memory and time a layer.</summary>
internal static class ProfileVerb
{
    private static readonly Option<int?> BatchSize = Opt.Number("--batch-size", "Images at once [1]", 1, 1 << 16);
    private static readonly Option<bool> Ops = Opt.Flag("--ops", "List the operations of each layer");

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("profile", "Parameters, multiply-adds, activation memory and measured time of each layer.",
            "espalier profile --model-type ViT-B_16 --batch-size 8", "espalier profile --model apt.safetensors --ops",
            "espalier profile --model-type resnet50 --width 0.5")
        {
            Shared.Model, Shared.ModelType, Shared.Config, BatchSize, Shared.ImageSize, Shared.Width, Ops, Shared.Threshold, Shared.Data,
            Shared.DataDir, Shared.Preprocess,
        };
        verb.SetAction(parse => Run(parse, context));
        return verb;
    }

    private static int Run(ParseResult parse, CommandContext context)
    {
        using Model model = Checkpoints.OpenOrCreate(parse, "profile");
        bool drops = model.Graph.Nodes.Any(n => n.Op is KeepRowsOp);
        float? threshold = parse.GetValue(Shared.Threshold);
        if (threshold is not null) Checkpoints.RequireAgents(drops, model.Description, "--threshold");
        using var scope = new Scope();
        using InputImages images = InputImages.Take(parse.GetValue(BatchSize) ?? 1, model.Card.Preprocessing!,
            parse.GetValue(Shared.Data), model.Card.Dataset, parse.GetValue(Shared.DataDir));
        double peak = PeakFma.Measure(Workers.Threads);
        int batch = images.Pixels.Shape[0];
        context.Terminal.Line($"{model.Description}, images of {model.ImageSize} pixels, batch of {batch}, "
            + $"{Workers.Threads} threads, FMA peak {Format.Number(peak, "0")} GFLOP/s");
        IReadOnlyList<LayerProfile> layers = NetworkProfile.Run(model.Graph, images.Pixels);
        Print(context.Terminal, layers, batch, peak, parse.GetValue(Ops));
        if (drops) PrintPruned(context.Terminal, model, threshold, images);
        return ExitCodes.Done;
    }

    private static void Print(Terminal terminal, IReadOnlyList<LayerProfile> layers, int batch, double peak, bool ops)
    {
        double total = layers.Sum(l => l.Time.TotalMilliseconds);
        Table table = Tables.New("layer", "parameters", "MACs an image", "activations", "moved", "ms", "time", "GFLOP/s",
            "of peak");
        foreach (LayerProfile layer in layers)
        {
            Add(layer.Name, Format.Large(layer.Parameters), layer.MultiplyAdds, layer.ActivationBytes, layer.MovedBytes,
                layer.Time);
            if (!ops) continue;
            foreach (OpProfile op in layer.Ops)
                Add($"  {op.Name}", "", op.MultiplyAdds, op.ActivationBytes, op.MovedBytes, op.Time);
        }
        Add("total", Format.Large(layers.Sum(l => l.Parameters)), layers.Sum(l => l.MultiplyAdds),
            layers.Sum(l => l.ActivationBytes), layers.Sum(l => l.MovedBytes), new TimeSpan(layers.Sum(l => l.Time.Ticks)));
        terminal.Console.Write(table);

        void Add(string name, string parameters, long macs, long bytes, long moved, TimeSpan time)
        {
            double gflops = 2 * macs / Math.Max(time.TotalSeconds, 1e-9) / 1e9;
            table.Row(name, parameters, macs == 0 ? "" : Format.Large((double)macs / batch), Format.Bytes(bytes),
                Format.Bytes(moved), Format.Number(time.TotalMilliseconds, "0.000"),
                Format.Share(time.TotalMilliseconds / total), macs == 0 ? "" : Format.Number(gflops, "0.0"),
                macs == 0 ? "" : Format.Share(gflops / peak));
        }
    }

    private static void PrintPruned(Terminal terminal, Model model, float? threshold, InputImages images)
    {
        using Session session = Session.Of(model);
        if (threshold is { } t) session.Pruning = Pruning.Threshold(t);
        BenchWork plain = BenchWork.Inference(session, Pruning.None, images.Pixels);
        BenchWork pruned = BenchWork.Inference(session, session.Pruning, images.Pixels);
        double[] ms = [.. new Rounds().Measure(plain.Run, pruned.Run).Select(s => SampleStatistics.Of(s).P50 / 1e6)];
        double dense = session.DenseMultiplyAdds;
        terminal.Line($"unpruned    {Format.Large(dense)} MACs an image, {Format.Number(ms[0], "0.000")} ms");
        terminal.Line($"pruned      {Format.Large(pruned.MultiplyAdds!.Value)} MACs an image "
            + $"({Format.Share(pruned.MultiplyAdds.Value / dense)}), {Format.Number(ms[1], "0.000")} ms "
            + $"({Format.Number(ms[0] / ms[1], "0.00")}x as fast), tokens {Format.Tokens(pruned.Tokens)}, on {images.Source}");
    }
}
