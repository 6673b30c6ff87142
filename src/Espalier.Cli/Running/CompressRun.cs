using Espalier.Benchmarking;
using Espalier.Cli.Display;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Training;
using Spectre.Console;

namespace Espalier.Cli.Running;

/// <summary>What `compress` was asked to do.</summary>
internal sealed record CompressPlan
{
    public required ICompressionMethod Method { get; init; }

    /// <summary>Checkpoint to start from; null to train a network of <see cref="ModelType"/> first.</summary>
    public string? Model { get; init; }

    public string? ModelType { get; init; }

    /// <summary>Of a network that is trained first: its channel counts times this.</summary>
    public double Width { get; init; } = 1;

    public int? ImageSize { get; init; }

    /// <summary>Steps of ordinary training before the method begins.</summary>
    public long PretrainSteps { get; init; }

    public string? Data { get; init; }

    public string? DataDir { get; init; }

    /// <summary>Where the smaller network goes; null to write none.</summary>
    public string? Output { get; init; }

    /// <summary>Where the last selection goes, as JSON.</summary>
    public string? PlanFile { get; init; }

    /// <summary>Only say what would go.</summary>
    public bool PlanOnly { get; init; }

    public required CompressionOptions Options { get; init; }
}

/// <summary>A network made smaller, and what it was before and after.</summary>
internal sealed class CompressRun(CompressPlan plan, Session session)
{
    private static readonly TimeSpan BurstTime = TimeSpan.FromSeconds(0.3);

    private readonly Terminal terminal = session.Terminal;

    public void Run()
    {
        using LoadedCnn loaded = Open(out DatasetPair pair);
        Cnn net = loaded.Net;
        if (pair.Train.Classes > net.NumClasses)
            throw new EspalierException($"the network has {net.NumClasses} classes, but {pair.Info.Name} has {pair.Train.Classes}; "
                + "use data that it was made for");
        var data = new TrainingData(pair.Train, ImagePipeline.Train(pair.Info, net.ImageSize, net.Channels), pair.Test,
            ImagePipeline.Eval(net.ImageSize, net.Channels));
        if (plan.PlanOnly)
        {
            ShowPlan(new CompressionJob(net, data, plan.Options, cancel: session.Cancel));
            if (plan.PlanFile is not null) terminal.Line($"plan        {plan.PlanFile}");
            return;
        }
        Table table = TrainingDisplay.Run(terminal, plan.Method.Name, progress =>
            Compress(new CompressionJob(net, data, plan.Options, progress, session.Cancel), loaded));
        terminal.Console.Write(table);
        terminal.Line($"on {pair.Test.Count} test images of {pair.Info.Name}; the time is of one image at a time, both in turn");
        if (plan.PlanFile is not null) terminal.Line($"plan        {plan.PlanFile}");
        if (plan.Output is not null) terminal.Line($"model       {plan.Output}");
    }

    private LoadedCnn Open(out DatasetPair pair)
    {
        if (plan.Model is { } path)
        {
            CnnConfig? named = plan.ModelType is { } type ? CnnPresets.Get(type) : null;
            LoadedCnn loaded = CnnFile.Load(path, named);
            pair = Datasets.Open(plan.Data ?? loaded.Structure.Dataset
                ?? throw new EspalierException($"{path}: does not say which data set it was trained on; give --data NAME"),
                plan.DataDir);
            return loaded;
        }
        if (plan.ModelType is null) throw new EspalierException("say what to compress: --model FILE, or --model-type NAME to train it first");
        pair = Datasets.Open(plan.Data ?? "fashion-mnist", plan.DataDir);
        CnnConfig config = CnnPresets.Get(plan.ModelType);
        config = config with
        {
            Channels = pair.Info.Channels, NumClasses = pair.Train.Classes, Width = plan.Width,
            ImageSize = plan.ImageSize ?? config.ImageSize,
        };
        return new LoadedCnn(CnnPresets.Create(config, plan.Options.Seed),
            new CnnStructure { Config = config, Dataset = pair.Info.Name, ClassNames = [.. pair.Train.ClassNames] });
    }

    /// <summary>The groups, what they would become, and the totals; nothing is cut.</summary>
    private void ShowPlan(CompressionJob job)
    {
        if (plan.Method is not ImportanceMethod method)
            throw new EspalierException($"{plan.Method.Name} chooses while it trains, so there is no plan beforehand; leave --plan out");
        using DependencyGraph graph = job.Graph();
        SelectionOptions selection = plan.Options.Selection.Checked();
        RemovalPlan removal = job.Select(graph, method.Score(job, graph, selection.Candidates(graph)), selection);
        PlanSummary summary = PlanSummary.Of(graph, removal);
        Table table = Tables.New("group", "channels", "kept", "layers");
        foreach (ChannelGroup group in graph.Groups)
        {
            int removed = removal.Channels.TryGetValue(group.Name, out int[]? gone) ? gone.Length : 0;
            table.Row(group.Name, $"{group.Count}", $"{group.Count - removed}", string.Join(", ", group.Layers.Take(4))
                + (group.Layers.Count > 4 ? $" and {group.Layers.Count - 4} more" : ""));
        }
        terminal.Console.Write(table);
        foreach (FixedChannels f in graph.Fixed) terminal.Line($"stays       {f.Name} ({f.Count}): {f.Reason}");
        terminal.Line($"parameters  {Format.Large(summary.ParametersBefore)} -> {Format.Large(summary.ParametersAfter)}");
        terminal.Line($"MACs/image  {Format.Large(summary.MultiplyAddsBefore)} -> {Format.Large(summary.MultiplyAddsAfter)}");
        if (plan.PlanFile is not null) removal.Save(plan.PlanFile);
    }

    /// <summary>Trains where asked to, runs the method, and measures before and after.</summary>
    private Table Compress(CompressionJob job, LoadedCnn loaded)
    {
        job.Train("train", plan.PretrainSteps);
        Cnn net = loaded.Net;
        // The network as it was, for timing the two in turn.
        using var original = new TemporaryCopy(loaded);
        Measured before = Measure(job, original);
        plan.Method.Run(job);
        if (job.Removals.Count == 0) throw new EspalierException($"{plan.Method.Name} removed nothing");
        if (plan.Output is not null) CnnFile.Save(plan.Output, net, loaded.Structure);
        using var smaller = new TemporaryCopy(loaded);
        Measured after = Measure(job, smaller);
        if (plan.PlanFile is not null) job.LastPlan?.Save(plan.PlanFile);
        var (slow, fast) = MillisecondsInTurn(original, net, job);
        Table table = Tables.New("", "before", "after", "ratio");
        Row("parameters", before.Parameters, after.Parameters, Format.Large);
        Row("MACs an image", before.MultiplyAdds, after.MultiplyAdds, Format.Large);
        table.Row("accuracy", Format.Percent(before.Accuracy), Format.Percent(after.Accuracy),
            Format.Number(100 * (after.Accuracy - before.Accuracy), "+0.00;-0.00") + " points");
        Row("file", before.Bytes, after.Bytes, Format.Bytes);
        Row("ms an image", slow, fast, x => Format.Number(x, "0.000"));
        return table;

        void Row(string name, double x, double y, Func<double, string> format) =>
            table.Row(name, format(x), format(y), Format.Number(y / x, "0.000"));
    }

    /// <summary>Median time of one image through each, quick passes in bursts.</summary>
    private static (double First, double Second) MillisecondsInTurn(TemporaryCopy first, Cnn second, CompressionJob job)
    {
        using LoadedCnn loaded = CnnFile.Load(first.Path);
        using var scope = new Scope();
        Tensor image = job.Example(1);
        loaded.Net.Training = second.Training = false;
        IReadOnlyList<long[]> samples = new Rounds { MinTime = BurstTime }.Measure(Pass(loaded.Net, image), Pass(second, image));
        return (Median(samples[0]), Median(samples[1]));

        static double Median(long[] nanoseconds) => SampleStatistics.Of(nanoseconds).P50 / 1e6;
    }

    private static Action Pass(Cnn net, Tensor images) => () =>
    {
        using var scope = new Scope();
        net.Forward(images);
    };

    private sealed record Measured(double Parameters, double MultiplyAdds, double Accuracy, double Bytes);

    private static Measured Measure(CompressionJob job, TemporaryCopy file)
    {
        using DependencyGraph graph = job.Graph();
        return new Measured(job.Net.ParameterCount, graph.MultiplyAdds(), job.Evaluate().Scalars["accuracy"],
            new FileInfo(file.Path).Length);
    }

    /// <summary>A network in a file that is gone afterwards.</summary>
    private sealed class TemporaryCopy : IDisposable
    {
        public TemporaryCopy(LoadedCnn model) => CnnFile.Save(Path, model.Net, model.Structure);

        public string Path { get; } = System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"espalier-{Guid.NewGuid():n}.safetensors");

        public void Dispose() => File.Delete(Path);
    }
}
