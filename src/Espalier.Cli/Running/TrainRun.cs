using Espalier.Cli.Display;
using Espalier.Compression.Apt;
using Espalier.Data;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Training;

namespace Espalier.Cli.Running;

/// <summary>A plan carried out: data, model and task made, trained, and what came out.</summary>
internal sealed class TrainRun : IDisposable
{
    private readonly Session session;
    private readonly TrainPlan plan;
    private readonly DataChoice.Splits splits;
    private readonly ITrainingTask task;
    private VitSession? trained;

    /// <summary>Opens the data, builds the model and reads the checkpoint to start from.</summary>
    public TrainRun(TrainPlan plan, DatasetPair data, Session session)
    {
        (this.plan, this.session) = (plan, session);
        splits = DataChoice.Split(data, plan);
        ModelChoice.Choice choice = ModelChoice.ToTrain(plan, data);
        Data = data;
        Vit = new VisionTransformer(choice.Config, plan.Options.Seed);
        int[] layers = choice.Config.PruneLayers ?? choice.Config.DefaultPruneLayers();
        Structure = new ModelStructure
        {
            Config = plan.Apt is null ? choice.Config : choice.Config with { PruneLayers = layers },
            ClassNames = choice.Config.NumClasses == data.Train.Classes ? [.. data.Train.ClassNames] : null,
            Dataset = data.Info.Name,
        };
        float dropout = plan.Dropout ?? (plan.Apt is { RewardDropout: true } ? 0.1f : choice.DefaultDropout);
        if (plan.Apt is { } options)
        {
            Apt = new AptModel(Vit, layers, plan.Options.Seed, plan.KeepBias);
            task = new AptTask(Apt, Structure, options, dropout, plan.LabelSmoothing);
        }
        else
        {
            task = new ClassificationTask(Vit, Structure, dropout, plan.LabelSmoothing);
        }
        Start = ReadStart();
    }

    public DatasetPair Data { get; }

    public VisionTransformer Vit { get; }

    public AptModel? Apt { get; }

    public ModelStructure Structure { get; }

    /// <summary>What became of the checkpoint to start from; null where there is none.</summary>
    public LoadReport? Start { get; }

    /// <summary>Whether the best checkpoint is chosen by a part of the training images.</summary>
    public bool HeldOut => splits.HeldOut;

    public (int Train, int Selection, int Test) Counts => (splits.Train.Count, splits.Selection.Count, splits.Test.Count);

    /// <summary>Trains to the end or to the first Ctrl-C.</summary>
    public TrainResult Run()
    {
        VitConfig c = Vit.Config;
        var data = new TrainingData(splits.Train, ImagePipeline.Train(Data.Info, c.ImageSize, c.Channels, plan.Augmentation),
            splits.Selection, ImagePipeline.Eval(c.ImageSize, c.Channels));
        var trainer = new Trainer(task, data, plan.Options);
        return TrainingDisplay.Run(session.Terminal, plan.Options.Name, progress => trainer.Run(progress, session.Cancel));
    }

    /// <summary>The trained model on the test images, as it stands at the end of the run.</summary>
    public EvaluationRun OnTest()
    {
        trained?.Dispose();
        trained = Apt is null ? new VitSession(Vit) : new VitSession(Apt);
        return new EvaluationRun(session, trained, splits.Test, plan.Options.EvalBatchSize);
    }

    public void Dispose()
    {
        trained?.Dispose();
        task.Model.Dispose();
    }

    private LoadReport? ReadStart()
    {
        if ((plan.Init ?? plan.Pretrained) is not { } path) return null;
        LoadReport report = ModelFile.LoadInto(task.Model, Vit.Config, path);
        if (plan.Pretrained is not null) Vit.ClearHead();
        else if (Apt is not null && ModelFile.ReadStructure(path)?.Threshold is { } threshold) Apt.Threshold = threshold;
        return report;
    }
}
