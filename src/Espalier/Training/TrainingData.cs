using Espalier.Data;

namespace Espalier.Training;

/// <summary>What a run learns from and what it is measured on. Hold out a part of the training split to choose checkpoints by
/// (<see cref="Subset.HoldOutTail"/>): chosen by the test split, the best accuracy is too good.</summary>
public sealed record TrainingData(IImageDataset Train, ImagePipeline TrainPipeline, IImageDataset Evaluation,
    ImagePipeline EvaluationPipeline);
