using Espalier.Cli.Display;
using Espalier.Data;
using Espalier.Inference;
using Espalier.Training;

namespace Espalier.Cli.Running;

/// <summary>A plan carried out: data, network and task made, trained, and what came out.</summary>
internal sealed class TrainRun : IDisposable
{
    private const int UsualBatch = 32;

    private readonly CommandContext context;
    private readonly TrainPlan plan;
    private readonly DataChoice.Splits splits;
    private Session? trained;

    /// <summary>Opens the data, builds the network and reads the checkpoint to start from.</summary>
    public TrainRun(TrainPlan plan, DatasetPair data, CommandContext context)
    {
        splits = DataChoice.Split(data, plan);
        plan = plan with { Options = Following(plan, splits.Train.Count) };
        Data = data;
        Network = NetworkToTrain.Make(plan, data);
        if (plan.Freeze is > 0 and var passes)
            plan = plan with
            {
                Options = plan.Options with
                {
                    FreezeSteps = Math.Min(Steps(passes, splits.Train.Count, plan.Options), plan.Options.Steps),
                    FreezeExcept = Network.Learning(),
                },
            };
        (this.plan, this.context) = (plan, context);
    }

    public DatasetPair Data { get; }

    public NetworkToTrain Network { get; }

    /// <summary>Whether the best checkpoint is chosen by a part of the training images.</summary>
    public bool HeldOut => splits.HeldOut;

    public (int Train, int Selection, int Test) Counts => (splits.Train.Count, splits.Selection.Count, splits.Test.Count);

    /// <summary>Optimiser steps of the run.</summary>
    public long TotalSteps => plan.Options.Steps;

    /// <summary>How the run goes, after what follows from its data.</summary>
    public TrainOptions Options => plan.Options;

    /// <summary>What is done once nothing can be refused any more; see <see cref="Trainer.Begun"/>.</summary>
    public Action? Begun { get; init; }

    /// <summary>Trains to the end or to the first Ctrl-C.</summary>
    public TrainResult Run() => TrainingDisplay.Run(context.Terminal, plan.Options.Name, Run);

    /// <summary>The same, shown in another way.</summary>
    public TrainResult Run(ITrainingProgress progress)
    {
        using IDisposable? _ = context.Interrupt?.Hold();
        var data = new TrainingData(splits.Train, ImagePipeline.Train(Data.Info, Network.Preprocessing, plan.Augmentation),
            splits.Selection, ImagePipeline.Eval(Network.Preprocessing));
        return new Trainer(Network.Task, data, plan.Options) { Begun = Begun }.Run(progress, context.Cancel);
    }

    /// <summary>The trained network on the test images, as it stands at the end of the run.</summary>
    public EvaluationRun OnTest()
    {
        trained?.Dispose();
        trained = Session.Of(Network.Model);
        return new EvaluationRun(context, trained, splits.Test, plan.Options.EvalBatchSize);
    }

    private static TrainOptions Following(TrainPlan plan, int images)
    {
        TrainOptions options = plan.Options;
        int parts = options.MicroBatches;
        if (plan.BatchFollows) options = options with { BatchSize = Math.Max(Math.Min(UsualBatch, images) / parts, 1) * parts };
        if (plan.Epochs is { } epochs) options = options with { Steps = Steps(epochs, images, options) };
        if (!plan.EvaluationFollows) return options;
        return options with { EvalEvery = Math.Max(options.Steps / 10, Math.Max(images / options.BatchSize, 1)) };
    }

    /// <summary>What is left over at the end of an epoch is not used, so that it has whole steps.</summary>
    private static long Steps(double epochs, int images, TrainOptions options)
    {
        int parts = options.MicroBatches, each = images / Math.Max(1, options.BatchSize / parts) / parts;
        return Math.Max(1, (long)Math.Round(epochs * each));
    }

    public void Dispose()
    {
        trained?.Dispose();
        Network.Dispose();
    }
}
