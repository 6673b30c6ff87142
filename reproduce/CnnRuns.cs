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

    public string Model(string name) => Path.Combine(folder, name + ".safetensors");

    /// <summary>What came of a run; null where it is not finished.</summary>
    public CnnRecord? Record(string name) => CnnRecord.Read(Path.Combine(folder, name + ".json"));

    /// <summary>One run, if it is not finished: opens a network, works on it, writes it and what it is like.</summary>
    /// <param name="trained">Steps that the network has behind it when it is opened.</param>
    public CnnRecord Do(string name, Func<LoadedCnn> open, CompressionOptions options, Action<CompressionJob> work,
        long trained = 0, Augmentation augmentation = Augmentation.None)
    {
        if (Record(name) is { } finished) return finished;
        context.Cancel.ThrowIfCancellationRequested();
        Folders.Make(folder);
        using LoadedCnn model = open();
        TrainOptions training = options.Training with { EvalBatchSize = EvaluationBatch, DataThreads = 1 };
        long steps = TrainingDisplay.Run(context.Terminal, name, progress =>
        {
            var job = new CompressionJob(model.Net, Data(model.Net, augmentation), options with { Training = training }, progress,
                context.Cancel);
            work(job);
            return job.Stages.Sum(s => s.Steps);
        });
        CnnFile.Save(Model(name), model.Net, model.Structure);
        using Inference.Session result = Inference.Session.Open(Model(name));
        double accuracy = new EvaluationRun(context, result, pair.Test, EvaluationBatch).Run(name, prune: false).Accuracy;
        var record = new CnnRecord(accuracy, model.Net.ParameterCount, (long)result.DenseMultiplyAdds, trained + steps,
            CnnRecord.ShapeOf(model.Net));
        record.Write(Path.Combine(folder, name + ".json"));
        return record;
    }

    /// <summary>A network with random weights for the data.</summary>
    public LoadedCnn New(string network, double width, ulong seed)
    {
        CnnConfig config = CnnPresets.Get(network) with
        {
            Width = width, Channels = pair.Info.Channels, NumClasses = pair.Train.Classes, ImageSize = imageSize,
        };
        return new LoadedCnn(CnnPresets.Create(config, seed),
            new CnnStructure { Config = config, Dataset = pair.Info.Name, ClassNames = [.. pair.Train.ClassNames] });
    }

    /// <summary>The network of a finished run.</summary>
    public LoadedCnn Open(string name) => CnnFile.Load(Model(name));

    /// <summary>The shape of a finished run's network with new weights.</summary>
    public LoadedCnn Fresh(string name, ulong seed)
    {
        LoadedCnn model = Open(name);
        FreshWeights.Fill(model.Net, seed);
        return model;
    }

    private TrainingData Data(Cnn net, Augmentation augmentation) => new(
        pair.Train, ImagePipeline.Train(pair.Info, net.ImageSize, net.Channels, augmentation),
        Subset.First(pair.Test, Glance), ImagePipeline.Eval(net.ImageSize, net.Channels));
}
