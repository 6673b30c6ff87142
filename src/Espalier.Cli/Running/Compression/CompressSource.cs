using Espalier.Data;
using Espalier.Imaging;
using Espalier.Tensors;
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

    /// <summary>A folder of images without labels, to look at; on its own it is the data set, of which nothing is learnt.</summary>
    public string? Calibration { get; init; }

    /// <summary>What is done to training images.</summary>
    public Augmentation Augmentation { get; init; } = Augmentation.Default;

    /// <summary>A picture that cannot be read ends the work; else it is left out and named in the end.</summary>
    public bool Strict { get; init; }

    /// <param name="needsImages">Whether noise will not do where no data set is named or known.</param>
    /// <exception cref="EspalierException">There is no such network or data, or they do not go together.</exception>
    public CompressInput Open(ulong seed, bool needsImages = true)
    {
        SkippedFiles? skipped = null;
        FolderDataset? pictures = Calibration is null ? null : FolderDataset.Unlabelled(Calibration, out skipped, Strict);
        Model model = OpenModel(seed, pictures, needsImages, out DatasetPair pair);
        try
        {
            string source = Model ?? "the network";
            bool labelled = pair.Train.Classes > 0;
            if (labelled)
            {
                if (model.Card.Features) throw Checkpoints.HasNoHead(source);
                ModelChoice.RequireClasses(model.NumClasses, source, pair.Train);
                pair = pair.For(model.Card.Classes, source);
            }
            Preprocessing p = PreprocessChoice.Of(Preprocess, model.ImageSize, model.Channels, model.Card.Preprocessing);
            model.Card = model.Card with { Preprocessing = p };
            ImagePipeline evaluation = ImagePipeline.Eval(p);
            return new CompressInput(model, pair, p,
                new TrainingData(pair.Train, labelled ? ImagePipeline.Train(pair.Info, p, Augmentation) : evaluation, pair.Test, evaluation))
            {
                Calibration = labelled ? pictures : null, Skipped = skipped ?? pair.Skipped,
            };
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <param name="pictures">Images without labels, where there are any.</param>
    private Model OpenModel(ulong seed, FolderDataset? pictures, bool needsImages, out DatasetPair pair)
    {
        if (Model is { } path)
        {
            if (Width is not null || ImageSize is not null)
                throw new EspalierException($"{path}: says its own shape, so {(Width is null ? "--img-size" : "--width")} has no "
                    + "meaning; leave it out");
            Model model = Espalier.Model.Open(path, new OpenOptions { Architecture = ModelType });
            try
            {
                Checkpoints.RequirePictures(model.Channels, path);
                bool named = Data is not null || DataDir is not null;
                string? own = model.Card.Dataset;
                bool here = own is not null && (own == FashionMnist.OpenSample().Info.Name || Datasets.All.Any(i => i.Name == own)
                    && Datasets.Find(own, null) is not null);
                pair = !named && pictures is not null ? Unlabelled(pictures, model)
                    : !named && !here && !needsImages ? Noise(model)
                    : Datasets.Open(DataChoice.Name(Data, DataDir, model.Card.Dataset)
                    ?? throw new EspalierException($"{path}: does not say which data set it was trained on; give --data NAME"),
                    DataDir, strict: Strict);
                return model;
            }
            catch
            {
                model.Dispose();
                throw;
            }
        }
        if (ModelType is null)
            throw new EspalierException("say what to compress: --model FILE, or --model-type NAME to train it first");
        pair = Datasets.Open(DataChoice.Name(Data, DataDir, "fashion-mnist")!, DataDir, strict: Strict);
        Model made = Espalier.Model.Create(ModelType, pair.Train.Classes, pair.Info.Channels, ImageSize, seed, Width ?? 1);
        made.Card = made.Card with { Dataset = pair.Info.Name, Classes = [.. pair.Train.ClassNames] };
        return made;
    }

    /// <summary>For methods that look at weights alone: only what the network gives before and after is compared on it.</summary>
    private static DatasetPair Noise(Model model)
    {
        const int count = 16;
        var noise = new UnlabelledNoise(model.ImageSize, model.Channels, count);
        return new DatasetPair(noise, noise, new DatasetInfo(UnlabelledNoise.NoiseName, "noise", model.Channels, model.ImageSize, 0));
    }

    /// <summary>Four of five pictures to look at; on the fifth the networks are compared.</summary>
    private DatasetPair Unlabelled(FolderDataset pictures, Model model)
    {
        ILookup<bool, int> parts = Enumerable.Range(0, pictures.Count).ToLookup(i => pictures.Count > 1 && i % 5 == 4 % pictures.Count);
        int[] seen = [.. parts[false]], held = [.. parts[true]];
        return new DatasetPair(new Subset(pictures, seen), new Subset(pictures, held.Length == 0 ? seen : held),
            new DatasetInfo(Path.GetFileName(Path.TrimEndingDirectorySeparator(Calibration!)), "images without labels", model.Channels,
                model.ImageSize, 0));
    }
}

/// <summary>A network, how images become its input, and the images to train and to evaluate it on.</summary>
internal sealed record CompressInput(Model Model, DatasetPair Pair, Preprocessing Preprocessing, TrainingData Data) : IDisposable
{
    /// <summary>Images without labels to look at; null for the training images.</summary>
    public IImageDataset? Calibration { get; init; }

    public required SkippedFiles Skipped { get; init; }

    /// <summary>Whether images have labels to learn from and to measure accuracy by.</summary>
    public bool IsLabelled => Pair.Train.Classes > 0;

    /// <summary>Whether the images are of nothing, since nobody named any.</summary>
    public bool IsNoise => Pair.Info.Name == UnlabelledNoise.NoiseName;

    /// <summary>The network's, for reports.</summary>
    public string Name => Model.Card.Architecture ?? Model.Description;

    public void Dispose() => Model.Dispose();
}

/// <summary>Pictures of random bytes, the same in every run, of no classes.</summary>
internal sealed class UnlabelledNoise(int size, int channels, int count) : IImageDataset
{
    public const string NoiseName = "noise";

    public string Name => NoiseName;

    public int Count => count;

    public int Classes => 0;

    public IReadOnlyList<string> ClassNames => [];

    public int Label(int index) => 0;

    public Image ReadImage(int index)
    {
        var image = new Image(size, size, channels);
        var rng = new Rng((ulong)index);
        for (int i = 0; i < image.Pixels.Length; i++) image.Pixels[i] = (byte)rng.NextInt(256);
        return image;
    }
}
