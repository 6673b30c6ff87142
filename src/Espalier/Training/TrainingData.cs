using Espalier.Data;
using Espalier.Imaging;

namespace Espalier.Training;

/// <summary>What a run learns from and what it is measured on. Hold out a part of the training split to choose checkpoints by
/// (<see cref="Subset.HoldOutTail"/>): chosen by the test split, the best accuracy is too good.</summary>
public sealed record TrainingData(IImageDataset Train, ImagePipeline TrainPipeline, IImageDataset Evaluation,
    ImagePipeline EvaluationPipeline)
{
    /// <summary>A data set's pictures as a model wants them; the best checkpoint is chosen by its validation split or, where it has
    /// none, by the last twentieth of the training split.</summary>
    public static TrainingData For(Model model, DatasetPair data, Augmentation augmentation = Augmentation.Default)
    {
        const double heldOut = 0.05;
        Preprocessing p = model.Card.Preprocessing ?? Preprocessing.Half(model.ImageSize, model.Channels);
        var (train, selection) = data.Validation is { } own ? (data.Train, own) : Subset.HoldOutTail(data.Train, heldOut);
        return new TrainingData(train, ImagePipeline.Train(data.Info, p, augmentation), selection, ImagePipeline.Eval(p));
    }
}
