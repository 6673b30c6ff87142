using Espalier.Cli.Display;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Onnx;
using Espalier.Quantization;
using Espalier.Tensors;
using Spectre.Console;

namespace Espalier.Cli.Running;

/// <summary>A network rounded to few bits, and what it was before and after.</summary>
internal sealed class QuantizeRun(QuantizePlan plan, CommandContext context)
{
    /// <summary>Images whose answers tell how sensitive layers are.</summary>
    private const int SensitivityImages = 32;

    /// <summary>Images that the two networks' outputs are compared on, at most.</summary>
    private const int ComparedImages = 10_000;

    private readonly Terminal terminal = context.Terminal;
    private CompressInput input = null!;
    private IImageDataset evaluation = null!;

    public void Run()
    {
        using CompressInput opened = input = plan.Source.Open(seed: 42);
        context.Opened(input.Pair);
        if (input.Skipped != input.Pair.Skipped) context.Opened(input.Skipped);
        Folders.RefuseInput(plan.Output, plan.Source.Model, "--output");
        Folders.MakeFor(plan.Output);
        // In few bits or as numbers that were rounded: a file of ONNX has at least as many bytes as weights.
        if (plan.Output is { } output) OnnxFile.RequireWritable(input.Model, output, left: 0.25);
        PreprocessChoice.Show(terminal, input.Preprocessing);
        RequireLayers();
        if (plan.Output is null) terminal.Line("model       is not kept: --output FILE.safetensors keeps it");
        evaluation = plan.Limit is { } n ? DataChoice.Limit(input.Data.Evaluation, n) : input.Data.Evaluation;
        Model original = input.Model;
        double before = input.IsLabelled ? Accuracy(input.Model) : 1;
        var (model, result) = Rounded(original);
        using (model)
        {
            string bits = plan.TargetSize is not null ? $"4 or 8 bits, values in {plan.Options.ActivationBits}"
                : plan.Options.WeightBits == 8 && plan.Options.ActivationBits == 8 ? "8 bits"
                : $"{plan.Options.WeightBits} bits, values in {plan.Options.ActivationBits}";
            model.Card = model.Card.With(
                $"quantised after training: {result.Layers.Count} layers in {bits}, {plan.Options.Observer} of {Count} images");
            if (plan.Output is not null) model.Save(plan.Output);
            Show(model, result, original, before);
        }
    }

    private int Count => Math.Min(plan.Images, Pictures.Count);

    private IImageDataset Pictures => input.Calibration ?? input.Data.Train;

    private IEnumerable<Tensor> Images(int count) => CalibrationImages.Of(Pictures, input.Data.EvaluationPipeline, count);

    private (Model Model, PostTrainingResult Result) Rounded(Model original)
    {
        PostTrainingOptions options = plan.TargetSize is { } share ? plan.Options with { LayerBits = Bits(original, share) }
            : plan.Options;
        if (plan.MinAccuracy is { } least)
            return MixedPrecision.Reach(() => original.Copy(), Images(plan.Images), options,
                model => input.IsLabelled ? Accuracy(model) : Outputs(original, model).SameAnswer, least);
        Model model = original.Copy();
        try
        {
            return (model, PostTraining.Run(model.Graph, Images(plan.Images), options));
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>4 or 8 bits for each layer, by how sensitive it is at either.</summary>
    private Dictionary<string, int> Bits(Model original, double share)
    {
        int[] bits = [4, 8];
        var costs = new List<IReadOnlyDictionary<string, double>>();
        Dictionary<string, long> sizes = [];
        foreach (int b in bits)
        {
            using Model model = original.Copy();
            PostTrainingResult result = PostTraining.Run(model.Graph, Images(plan.Images), plan.Options.Uncorrected with { WeightBits = b });
            foreach (Tensor batch in Images(SensitivityImages))
            {
                costs.Add(MixedPrecision.Sensitivities(model.Graph, result.Layers, batch));
                break;
            }
            sizes = result.Values.Where(v => v.IsWeight).Zip(result.Layers).ToDictionary(p => p.Second, p =>
                p.First.Source.Shape.Length);
        }
        string[] layers = [.. sizes.Keys];
        long floats = input.Model.Graph.Parameters.Sum(p => p.Value.Length) - sizes.Values.Sum();
        long budget = (long)(32 * share * (floats + sizes.Values.Sum())) - 32 * floats;
        int[] chosen = MixedPrecision.Allocate([.. layers.Select(l => bits.Select((b, i) => (b * sizes[l],
            costs[i][l])).ToArray())], budget)
            ?? throw new EspalierException(
                $"weights do not fit into {share:0.##} of their size with 4 bits each; TargetSize must be larger");
        terminal.Line($"bits        {chosen.Count(c => c == 0)} layers in 4, {chosen.Count(c => c == 1)} in 8");
        return layers.Zip(chosen).ToDictionary(p => p.First, p => bits[p.Second]);
    }

    private void RequireLayers()
    {
        HashSet<string> names = [.. input.Model.Graph.Nodes.Where(n => n.Op is Conv2dOp or LinearOp).Select(n => n.Name)];
        if (plan.Options.Floats.FirstOrDefault(f => !names.Contains(f)) is { } unknown)
            throw new EspalierException($"--keep: there is no layer '{unknown}'{Near.Hint(unknown, names)}");
    }

    private double Accuracy(Model model)
    {
        using Session session = model.Session();
        return Accuracy(session);
    }

    private double Accuracy(Session session) =>
        new EvaluationRun(context, session, evaluation, 64).Run("evaluate", prune: true).Accuracy;

    private OutputComparison Outputs(Model original, Model model)
    {
        using Session before = original.Session(), after = model.Session();
        return Outputs(before, after);
    }

    private OutputComparison Outputs(Session before, Session after) =>
        SideBySide.Outputs(before, after, CalibrationImages.Of(evaluation, input.Data.EvaluationPipeline, ComparedImages));

    private void Show(Model model, PostTrainingResult result, Model original, double before)
    {
        using Session floats = original.Session(), codes = model.Session();
        OutputComparison outputs = Outputs(floats, codes);
        double after = input.IsLabelled ? Accuracy(codes) : outputs.SameAnswer;
        float[] image = [.. CalibrationImages.Of(evaluation, input.Data.EvaluationPipeline, 1).SelectMany(x => x.ToArray())];
        var (slow, fast) = SideBySide.Milliseconds(floats, codes, image, context.Burst);
        Table table = Tables.New("", "before", "after", "ratio");
        table.Row(input.IsLabelled ? "accuracy" : "same answer", Format.Percent(before), Format.Percent(after),
            Format.Number(100 * (after - before), "+0.00;-0.00") + " points");
        if (input.IsLabelled) table.Row("same answer", Format.Percent(1), Format.Percent(outputs.SameAnswer), "");
        table.Row("output's cosine", "1", Format.Number(outputs.Cosine, "0.0000"), "");
        long whole = BeforeAfter.Bytes(original, plan.Output), small = BeforeAfter.Bytes(model, plan.Output);
        table.Row("file", Format.Bytes(whole), Format.Bytes(small), Format.Number((double)small / whole, "0.000"));
        table.Row("ms an image", Format.Number(slow, "0.000"), Format.Number(fast, "0.000"), Format.Number(fast / slow, "0.000"));
        terminal.Console.Write(table);
        CompressNumbers.Bound(terminal, model);
        foreach (string note in result.Notes) terminal.Line($"done        {note}");
        terminal.Line($"layers      {result.Layers.Count} in few bits; floats: "
            + (result.Floats.Count == 0 ? "none" : string.Join(", ", result.Floats.Take(8)) + (result.Floats.Count > 8
                ? $" and {result.Floats.Count - 8} more" : "")));
        terminal.Line($"ranges      {plan.Options.Observer} of {Count} images from {Pictures.Name}; numbers on {evaluation.Count} images of "
            + input.Pair.Info.Name);
        if (DepthwiseLayers.AreLost(model.Graph, outputs.SameAnswer)) Warn(outputs.SameAnswer);
        if (plan.Output is not null) terminal.Line($"model       {plan.Output}");
    }

    /// <summary>What has not been tried yet, in the order of what it costs.</summary>
    private void Warn(double agreement)
    {
        PostTrainingOptions o = plan.Options;
        string[] left = [.. new[]
        {
            o.PerChannel ? null : "leave --per-tensor out", o.Equalise ? null : "--equalise",
            o.WeightBits < 8 ? "--bits 8" : null, o.ActivationBits < 8 ? "--activation-bits 8" : null, plan.MinAccuracy is null ? "--min-accuracy" : null,
        }.OfType<string>()];
        terminal.Line($"warning     depthwise convolutions lose much by rounding: {Format.Percent(agreement)} same answers, "
            + $"and less than {Format.Percent(DepthwiseLayers.LeastAgreement)} is not to be used; "
            + (left.Length > 0 ? $"try {string.Join(", ", left)}" : "train with rounding: compress qat"));
    }
}
