using Espalier.Cli;
using Espalier.Cli.Display;
using Espalier.Cli.Running;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Models;
using Espalier.Training;

namespace Espalier.Reproduce;

/// <summary>Runs of a reproduction, each with its files in one folder: what is finished there is not done again.</summary>
internal sealed class CnnRuns(CommandContext context, string folder, DatasetPair pair, int imageSize)
{
    private const int EvaluationBatch = 250;

    /// <summary>Test images that each training ends with, for its line of progress; what counts is measured on all.</summary>
    private const int Glance = 1000;

    public IImageDataset Train => pair.Train;

    public IImageDataset Test => pair.Test;

    public string File(string name) => Path.Combine(folder, name + ".safetensors");

    /// <summary>What came of a run; null where it is not finished.</summary>
    public CnnRecord? Record(string name) => CnnRecord.Read(Path.Combine(folder, name + ".json"));

    /// <summary>One run, if it is not finished: opens a network, works on it, writes it and what it is like.</summary>
    /// <param name="trained">Steps that the network has behind it when it is opened.</param>
    public CnnRecord Do(string name, Func<Model> open, CompressionOptions options, Action<CompressionJob> work,
        long trained = 0, Augmentation augmentation = Augmentation.None)
    {
        if (Record(name) is { } finished) return finished;
        context.Cancel.ThrowIfCancellationRequested();
        Folders.Make(folder);
        using Model model = open();
        TrainOptions training = options.Training with { EvalBatchSize = EvaluationBatch, DataThreads = 1 };
        long steps = TrainingDisplay.Run(context.Terminal, name, progress =>
        {
            var job = new CompressionJob(model, Data(model, augmentation), options with { Training = training }, progress,
                context.Cancel);
            work(job);
            return job.Stages.Sum(s => s.Steps);
        });
        model.Save(File(name));
        using Inference.Session result = Inference.Session.Open(File(name));
        double accuracy = new EvaluationRun(context, result, pair.Test, EvaluationBatch).Run(name, prune: false).Accuracy;
        var record = new CnnRecord(accuracy, model.ParameterCount, (long)result.DenseMultiplyAdds, trained + steps,
            CnnRecord.ShapeOf(model));
        record.Write(Path.Combine(folder, name + ".json"));
        return record;
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

    private TrainingData Data(Model net, Augmentation augmentation) => new(
        pair.Train, ImagePipeline.Train(pair.Info, net.ImageSize, net.Channels, augmentation),
        Subset.First(pair.Test, Glance), ImagePipeline.Eval(net.ImageSize, net.Channels));
}
