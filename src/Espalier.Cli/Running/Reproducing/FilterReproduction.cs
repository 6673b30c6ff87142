using Espalier.Cli.Display;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Training;

namespace Espalier.Cli.Running;

/// <summary>A network of the table.</summary>
internal sealed record FilterNetwork(string Name, double Width);

/// <summary>
/// The runs behind the table of filter pruning on Fashion-MNIST. For each network and seed one common training; from there every
/// method with the same number of steps and the same target of multiply-adds, the network itself with these steps too, and every
/// shape that came out with new weights and all the steps. A run that is finished in the folder is not done again.
/// </summary>
internal sealed class FilterReproduction(Session session, string folder, string? dataDir, long steps, double share)
{
    public const int BatchSize = 64;
    public const int ImageSize = 28;
    private const int EvaluationBatch = 250;

    /// <summary>Test images that each training ends with, for its line of progress; what counts is measured on all of them.</summary>
    private const int Glance = 1000;

    public const float LearningRate = 0.05f, WeightDecay = 5e-4f;

    /// <summary>The id of the network with all its channels.</summary>
    public const string Whole = "whole";

    private readonly DatasetPair pair = Datasets.Open("fashion-mnist", dataDir);

    public static IReadOnlyList<FilterNetwork> Networks { get; } = [new("cifar-vgg16", 0.25), new("resnet20", 1)];

    /// <summary>Steps of the common training, and again steps of each method.</summary>
    public long Steps => steps;

    public double Share => share;

    public IImageDataset Test => pair.Test;

    public string Model(FilterNetwork network, string id, ulong seed) => Stem(network, id, seed) + ".safetensors";

    public FilterRecord? Record(FilterNetwork network, string id, ulong seed) => FilterRecord.Read(Stem(network, id, seed) + ".json");

    /// <summary>The id of a shape trained from scratch.</summary>
    public static string Scratch(string shape) => $"scratch-{shape}";

    /// <summary>Everything with this seed.</summary>
    public void Train(ulong seed)
    {
        Directory.CreateDirectory(folder);
        foreach (FilterNetwork network in Networks)
        {
            Do(network, "start", seed, () => New(network, seed), job => job.Train("train", steps), trained: 0);
            LoadedCnn Start() => CnnFile.Load(Model(network, "start", seed));
            Do(network, Whole, seed, Start, job => job.Train("train on", steps), steps);
            foreach (FilterMethod method in FilterMethod.All)
            {
                if (method.NotFor.Contains(network.Name)) continue;
                FilterRecord record = Do(network, method.Id, seed, Start, job => CompressionMethods.Get(method.Method).Run(job), steps,
                    method);
                Do(network, Scratch(record.Shape), seed, () => Fresh(Model(network, method.Id, seed), seed), job =>
                {
                    job.Train("train", steps);
                    job.Train("train on", steps);
                }, trained: 0);
            }
        }
    }

    /// <summary>One run, if it is not finished: opens a network, works on it, writes it and what it is like.</summary>
    /// <param name="trained">Steps that the network has behind it when it is opened.</param>
    private FilterRecord Do(FilterNetwork network, string id, ulong seed, Func<LoadedCnn> open, Action<CompressionJob> work, long trained,
        FilterMethod? method = null)
    {
        if (Record(network, id, seed) is { } done) return done;
        session.Cancel.ThrowIfCancellationRequested();
        using LoadedCnn model = open();
        string name = $"{network.Name} {id}, seed {seed}";
        long stepsDone = TrainingDisplay.Run(session.Terminal, name, progress =>
        {
            using LoadedCnn? teacher = method is { Distilled: true } ? open() : null;
            var job = new CompressionJob(model.Net, Data(model.Net), Options(method, seed, teacher?.Net), progress, session.Cancel);
            work(job);
            return job.Stages.Sum(s => s.Steps);
        });
        CnnFile.Save(Model(network, id, seed), model.Net, model.Structure);
        using CnnSession result = CnnSession.Open(Model(network, id, seed));
        double accuracy = new EvaluationRun(session, result, pair.Test, EvaluationBatch).Run(name, prune: false).Accuracy;
        var record = new FilterRecord(accuracy, model.Net.ParameterCount, result.MultiplyAdds, trained + stepsDone,
            FilterRecord.ShapeOf(model.Net));
        record.Write(Stem(network, id, seed) + ".json");
        return record;
    }

    private CompressionOptions Options(FilterMethod? method, ulong seed, Cnn? teacher)
    {
        CompressionOptions options = method?.Options(steps, share, seed) ?? new CompressionOptions { Seed = seed };
        return options with
        {
            Training = new TrainOptions
            {
                BatchSize = BatchSize, EvalBatchSize = EvaluationBatch, LearningRate = LearningRate, WeightDecay = WeightDecay, DataThreads = 1,
            },
            Task = teacher is null ? new ClassifierTaskOptions()
                : new ClassifierTaskOptions { Distillation = Distillation.Hinton, Teacher = teacher.Forward },
        };
    }

    private LoadedCnn New(FilterNetwork network, ulong seed)
    {
        CnnConfig config = CnnPresets.Get(network.Name) with
        {
            Width = network.Width, Channels = pair.Info.Channels, NumClasses = pair.Train.Classes, ImageSize = ImageSize,
        };
        return new LoadedCnn(CnnPresets.Create(config, seed),
            new CnnStructure { Config = config, Dataset = pair.Info.Name, ClassNames = [.. pair.Train.ClassNames] });
    }

    /// <summary>The shape of a file's network with new weights.</summary>
    private static LoadedCnn Fresh(string path, ulong seed)
    {
        LoadedCnn model = CnnFile.Load(path);
        FreshWeights.Fill(model.Net, seed);
        return model;
    }

    private TrainingData Data(Cnn net) => new(pair.Train, ImagePipeline.Train(pair.Info, net.ImageSize, net.Channels, Augmentation.None),
        Subset.First(pair.Test, Glance), ImagePipeline.Eval(net.ImageSize, net.Channels));

    private string Stem(FilterNetwork network, string id, ulong seed) => Path.Combine(folder, $"{network.Name}-{id}-{seed}");
}
