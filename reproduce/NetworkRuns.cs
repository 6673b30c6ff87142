using System.Diagnostics;
using Espalier.Cli;
using Espalier.Cli.Display;
using Espalier.Cli.Running;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Formats;
using Espalier.Models;
using Espalier.Training;

namespace Espalier.Reproduce;

/// <summary>Runs of a reproduction, each with its files in one folder: what is finished there is not done again.</summary>
/// <param name="steps">Training steps that a run of the folder has; null where that cannot be chosen.</param>
/// <param name="share">What other processes may work on at the same time; null for what mpirun says.</param>
/// <param name="hours">Of all runs of an experiment that has several folders; null for its own.</param>
internal sealed class NetworkRuns(CommandContext context, string folder, DatasetPair pair, int imageSize, long? steps = null,
    WorkShare? share = null, RunHours? hours = null)
{
    private const int EvaluationBatch = 250, Few = 8;
    private const string StepsFile = "steps.txt";

    /// <summary>Test images that each training ends with, for its line of progress; what counts is measured on all.</summary>
    private const int Glance = 1000;

    private readonly SortedSet<string> looked = new(StringComparer.Ordinal);
    private readonly WorkShare? share = share ?? WorkShare.Of(folder);

    public RunHours Hours { get; } = hours ?? new RunHours();

    public IImageDataset Train => pair.Train;

    public IImageDataset Test => pair.Test;

    public string File(string name) => Path.Combine(folder, name + ".safetensors");

    /// <summary>What came of a run; null where it is not finished.</summary>
    public RunRecord? Record(string name)
    {
        RunRecord? record = RunRecord.Read(PathOf(name));
        if (record is not null) looked.Add(name);
        return record;
    }

    /// <summary>What made the finished runs that were asked for, and how long they took, in sentences.</summary>
    public string Made => Sentences.Join(RunOrigin.Sentence(folder, looked), RunHours.Sentence([.. looked.Select(n => RunRecord.Read(PathOf(n))!.Seconds)]));

    /// <summary>All training and all test images, in words.</summary>
    public string Images => FormattableString.Invariant($"{Train.Count:#,0} training and {Test.Count:#,0} test images");

    /// <summary>Lines of runs that do not depend on each other: of several processes each has those that it comes to
    /// first.</summary>
    /// <param name="name">Of a line's first run.</param>
    public IEnumerable<T> Mine<T>(IEnumerable<T> lines, Func<T, string> name) =>
        lines.Where(line => share?.Claim($"{name(line)}.line") != false);

    /// <summary>One run, if it is not finished: opens a network, works on it, writes it and what it is like. One that another
    /// process works on is waited for.</summary>
    /// <param name="trained">Steps that the network has behind it when it is opened.</param>
    public RunRecord Do(string name, Func<Model> open, CompressionOptions options, Action<CompressionJob> work,
        long trained = 0, Augmentation augmentation = Augmentation.None)
    {
        RequireSteps();
        return Record(name) ?? Hours.Work(() => Claimed(name, open, options, work, trained, augmentation));
    }

    private RunRecord Claimed(string name, Func<Model> open, CompressionOptions options, Action<CompressionJob> work, long trained,
        Augmentation augmentation)
    {
        if (share is null) return Worked(name, open, options, work, trained, augmentation);
        if (!share.Claim(name)) return share.Wait(name, () => Record(name), context.Cancel);
        try
        {
            return Worked(name, open, options, work, trained, augmentation);
        }
        catch (Exception e)
        {
            share.Fail(name, e.Message);
            throw;
        }
    }

    private RunRecord Worked(string name, Func<Model> open, CompressionOptions options, Action<CompressionJob> work, long trained,
        Augmentation augmentation)
    {
        context.Cancel.ThrowIfCancellationRequested();
        Folders.Make(folder);
        if (steps is { } all) AtomicFile.WriteText(Path.Combine(folder, StepsFile), $"{all}\n");
        RunOrigin.Note(folder, name);
        using Model model = open();
        string states = Path.Combine(folder, "states", name);
        TimeSpan before = Environment.CpuUsage.TotalTime;
        TrainOptions training = options.Training with
        {
            EvalBatchSize = EvaluationBatch, DataThreads = 1, OutputDir = states, Resume = Directory.Exists(states),
        };
        Dictionary<string, double> findings = [];
        long done = TrainingDisplay.Run(context.Terminal, name, progress =>
        {
            var job = new CompressionJob(model, Data(model, augmentation), options with { Training = training }, progress,
                context.Cancel);
            work(job);
            findings = job.Findings.GroupBy(f => f.Name).ToDictionary(g => g.Key,
                g => g.Key == CompressionJob.MaskedDifference ? g.Max(f => f.Value) : g.Average(f => f.Value));
            return job.Stages.Sum(s => s.Steps);
        });
        double seconds = Math.Round((Environment.CpuUsage.TotalTime - before).TotalSeconds, 1);
        model.Save(File(name));
        using Inference.Session result = Inference.Session.Open(File(name));
        ModelEvaluation found = Evaluated(result, pair.Test, name);
        var record = new RunRecord(found.Accuracy, model.ParameterCount, (long)found.MultiplyAdds, trained + done,
            RunRecord.ShapeOf(model), seconds, findings.Count > 0 ? findings : null);
        looked.Add(name);
        record.Write(PathOf(name));
        if (Directory.Exists(states)) Directory.Delete(states, recursive: true);
        return record;
    }

    /// <summary>A network on some images, without the tokens that it drops.</summary>
    public ModelEvaluation Evaluated(Inference.Session network, IImageDataset images, string what) =>
        new EvaluationRun(context, network, images, EvaluationBatch).Run(what, prune: network.AgentLayers.Count > 0);

    /// <summary>Runs of other lengths in one table would compare what was not trained alike.</summary>
    /// <exception cref="EspalierException">The folder has runs of another length.</exception>
    public void RequireSteps()
    {
        if (steps is not { } asked || RecordFile.Number(Path.Combine(folder, StepsFile)) is not { } there) return;
        if (there != asked)
            throw new EspalierException(
                $"{folder} has runs of {there} steps, and {asked} are asked for: give --steps {there}, or another --output-dir");
    }

    /// <summary>How long a run of so many steps will take here, by a few of its steps; nothing is written.</summary>
    /// <param name="options">Of a run with so many steps.</param>
    public TimeSpan Estimate(Func<Model> open, Func<long, CompressionOptions> options, Action<CompressionJob> work, long steps)
    {
        CompressionOptions few = options(Few);
        var clock = new StepClock();
        using Model model = open();
        long began = Stopwatch.GetTimestamp();
        CompressionOptions here = few with { Training = few.Training with { EvalBatchSize = EvaluationBatch, DataThreads = 1 } };
        work(new CompressionJob(model, Data(model, Augmentation.None), here, clock, context.Cancel));
        return Stopwatch.GetElapsedTime(began) - clock.Total + clock.Median * steps;
    }

    /// <summary>A network with random weights for the data.</summary>
    public Model New(string network, double width, ulong seed)
    {
        Model model = Model.Create(network, pair.Train.Classes, pair.Info.Channels, imageSize, seed, width);
        model.Card = model.Card with { Dataset = pair.Info.Name, Classes = [.. pair.Train.ClassNames] };
        return model;
    }

    /// <summary>The network of a finished run.</summary>
    public Model Open(string name) => Model.Open(File(name));

    /// <summary>The shape of a finished run's network with new weights.</summary>
    public Model Fresh(string name, ulong seed)
    {
        Model model = Open(name);
        FreshWeights.Fill(model.Graph, seed);
        return model;
    }

    /// <summary>Trains by the job's method, or plainly for as many steps.</summary>
    public static void RunOrTrain(CompressionJob job, bool byMethod)
    {
        if (byMethod) job.Run();
        else job.Train("train", job.Options.TrainSteps);
    }

    private string PathOf(string name) => Path.Combine(folder, name + ".json");

    private TrainingData Data(Model net, Augmentation augmentation)
    {
        Imaging.Preprocessing seen = PreprocessChoice.Of(asked: null, net.ImageSize, net.Channels, net.Card.Preprocessing);
        return new(pair.Train, ImagePipeline.Train(pair.Info, seen, augmentation), Subset.First(pair.Test, Glance),
            ImagePipeline.Eval(seen));
    }
}
