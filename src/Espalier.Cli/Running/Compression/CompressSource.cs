using Espalier.Data;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Training;

namespace Espalier.Cli.Running;

/// <summary>Which network is made smaller, and on which images.</summary>
internal sealed record CompressSource
{
    /// <summary>Checkpoint to start from; null for a network of <see cref="ModelType"/> with random weights.</summary>
    public string? Model { get; init; }

    public string? ModelType { get; init; }

    /// <summary>Of a network with random weights: its channel counts times this; null for 1.</summary>
    public double? Width { get; init; }

    /// <summary>Of a network with random weights; null for the published size.</summary>
    public int? ImageSize { get; init; }

    /// <summary>How images become the input: a preset's name or a file; null for the file's or the network's usual way.</summary>
    public string? Preprocess { get; init; }

    public string? Data { get; init; }

    public string? DataDir { get; init; }

    /// <summary>A picture that cannot be read ends the work; else it is left out and named in the end.</summary>
    public bool Strict { get; init; }

    /// <exception cref="EspalierException">There is no such network or data, or they do not go together.</exception>
    public CompressInput Open(ulong seed)
    {
        LoadedCnn loaded = OpenModel(seed, out DatasetPair pair);
        Cnn net = loaded.Net;
        try
        {
            ModelChoice.RequireClasses(net.NumClasses, Model ?? "the network", pair.Train);
            pair = pair.For(loaded.Structure.ClassNames, Model ?? "the network");
            Preprocessing p = PreprocessChoice.Of(Preprocess, net.ImageSize, net.Channels, loaded.Structure.Preprocessing);
            return new CompressInput(loaded with { Structure = loaded.Structure with { Preprocessing = p } }, pair, p,
                new TrainingData(pair.Train, ImagePipeline.Train(pair.Info, p), pair.Test, ImagePipeline.Eval(p)));
        }
        catch
        {
            loaded.Dispose();
            throw;
        }
    }

    private LoadedCnn OpenModel(ulong seed, out DatasetPair pair)
    {
        if (Model is { } path)
        {
            if (Width is not null || ImageSize is not null)
                throw new EspalierException($"{path}: says its own shape, so {(Width is null ? "--img-size" : "--width")} has no "
                    + "meaning; leave it out");
            CnnConfig? named = ModelType is { } type ? CnnPresets.Get(type) : null;
            LoadedCnn loaded = CnnFile.Load(path, named);
            if (loaded.Net.Channels is not (1 or 3))
                throw new EspalierException($"{path}: is for images of {loaded.Net.Channels} channels; "
                    + "images have 1 (grey) or 3 (RGB)");
            pair = Datasets.Open(DataChoice.Name(Data, DataDir, loaded.Structure.Dataset)
                ?? throw new EspalierException($"{path}: does not say which data set it was trained on; give --data NAME"),
                DataDir, strict: Strict);
            return loaded;
        }
        if (ModelType is null)
            throw new EspalierException("say what to compress: --model FILE, or --model-type NAME to train it first");
        pair = Datasets.Open(DataChoice.Name(Data, DataDir, "fashion-mnist")!, DataDir, strict: Strict);
        CnnConfig config = CnnPresets.Get(ModelType);
        config = config with
        {
            Channels = pair.Info.Channels, NumClasses = pair.Train.Classes, Width = Width ?? 1,
            ImageSize = ImageSize ?? config.ImageSize,
        };
        return new LoadedCnn(CnnPresets.Create(config, seed),
            new CnnStructure
            {
                Config = config, Dataset = pair.Info.Name, ClassNames = [.. pair.Train.ClassNames],
                Preprocessing = PreprocessingDefaults.For(config),
            });
    }
}

/// <summary>A network, how images become its input, and the images to train and to evaluate it on.</summary>
internal sealed record CompressInput(LoadedCnn Loaded, DatasetPair Pair, Preprocessing Preprocessing, TrainingData Data)
    : IDisposable
{
    public void Dispose() => Loaded.Dispose();
}
