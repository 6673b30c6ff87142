using System.Globalization;
using Espalier.Compression.Apt;
using Espalier.Data;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Training;

namespace Espalier.Cli.Running;

/// <summary>A network with the weights that a run begins with, and how it is taught.</summary>
/// <param name="Apt">The same with its agents, where those are trained too.</param>
/// <param name="Preprocessing">How images become its input.</param>
/// <param name="Session">Makes what evaluations run on, with the weights of that moment.</param>
/// <param name="Start">What became of the checkpoint to start from; null where there is none.</param>
internal sealed record NetworkToTrain(ImageClassifier Net, AptModel? Apt, Preprocessing Preprocessing, ITrainingTask Task,
    Func<Session> Session, string? Start) : IDisposable
{
    private Teacher? teacher;

    /// <exception cref="EspalierException">The plan contradicts itself, its files or its data.</exception>
    public static NetworkToTrain Make(TrainPlan plan, DatasetPair data)
    {
        if (plan.IsCnn) return MakeCnn(plan, data);
        ModelChoice.Choice choice = ModelChoice.ToTrain(plan, data);
        int[] layers = choice.Config.PruneLayers ?? choice.Config.DefaultPruneLayers();
        Preprocessing p = PreprocessChoice.Of(
            plan.Preprocess, choice.Config.ImageSize, choice.Config.Channels, Usual(plan, choice.Config));
        var structure = new ModelStructure
        {
            Preprocessing = p,
            Config = plan.Apt is null ? choice.Config : choice.Config with { PruneLayers = layers },
            ClassNames = choice.Config.NumClasses == data.Train.Classes ? [.. data.Train.ClassNames] : null,
            Dataset = data.Info.Name,
        };
        float dropout = plan.Dropout ?? (plan.Apt is { RewardDropout: true } ? 0.1f : choice.DefaultDropout);
        var vit = new VisionTransformer(choice.Config, plan.Options.Seed);
        if (plan.Apt is { } options)
        {
            var apt = new AptModel(vit, layers, plan.Options.Seed, plan.KeepBias);
            var task = new AptTask(apt, structure, options, dropout, plan.Recipe.LabelSmoothing);
            return new NetworkToTrain(
                vit, apt, p, task, () => new Inference.Session(apt.Trace()) { Preprocessing = p }, ReadStart(plan, vit, apt));
        }
        vit.DropoutRate = dropout;
        return Plain(plan, vit, p, structure.ClassNames, () => new Inference.Session(vit.Trace()) { Preprocessing = p },
            ReadStart(plan, vit, null), dropout, structure.Config.ToJson(), path => ModelFile.Save(path, vit, structure));
    }

    public void Dispose()
    {
        ((Nn.Module?)Apt ?? Net).Dispose();
        teacher?.Dispose();
    }

    private static NetworkToTrain MakeCnn(TrainPlan plan, DatasetPair data)
    {
        LoadedCnn cnn = ModelChoice.CnnToTrain(plan, data);
        Cnn net = cnn.Net;
        if (plan.Dropout is { } rate) Nn.Dropout.SetRate(net, rate);
        string? start = plan.Init is null ? null : $"{cnn.Net.StateDict().Count()} tensors";
        CnnStructure structure = cnn.Structure with
        {
            Preprocessing = PreprocessChoice.Of(plan.Preprocess, net.ImageSize, net.Channels, cnn.Structure.Preprocessing),
        };
        return Plain(plan, net, structure.Preprocessing, structure.ClassNames,
            () => new Inference.Session(net.Trace()) { Preprocessing = structure.Preprocessing! }, start, plan.Dropout, Shape(net),
            path => CnnFile.Save(path, net, structure));
    }

    /// <summary>Training by labels and a teacher, nothing pruned.</summary>
    private static NetworkToTrain Plain(TrainPlan plan, ImageClassifier net, Preprocessing preprocessing, string[]? classNames,
        Func<Session> session, string? start, float? dropout, string shape, Action<string> save)
    {
        Teacher? teacher = plan.Recipe.LoadTeacher(net.NumClasses, classNames, preprocessing);
        var task = new ClassifierTask(net, plan.Recipe.Task(teacher) with
        {
            Save = save,
            Identity =
            [
                ("Dropout", dropout?.ToString(CultureInfo.InvariantCulture) ?? "the network's own"),
                ("Model", shape + PreprocessingDefaults.Mark(preprocessing)),
                ("Teacher", Path.GetFileName(plan.Recipe.Teacher) ?? "none"),
            ],
        });
        return new NetworkToTrain(net, null, preprocessing, task, session, start) { teacher = teacher };
    }

    /// <summary>What the checkpoint to start from was trained with, where it says so, else the network's usual.</summary>
    private static Preprocessing? Usual(TrainPlan plan, VitConfig config)
    {
        Preprocessing? started = (plan.Init ?? plan.Pretrained) is { } start
            ? ModelFile.ReadStructure(start)?.Preprocessing?.ForSize(config.ImageSize) : null;
        return started?.Channels == config.Channels ? started : PreprocessingDefaults.For(config);
    }

    /// <summary>Pruned networks differ in what is left of the same shape.</summary>
    private static string Shape(Cnn net) => $"{net.Description}, images {net.Channels} x {net.ImageSize} x {net.ImageSize}, "
        + $"{net.NumClasses} classes, {net.ParameterCount} parameters";

    private static string? ReadStart(TrainPlan plan, VisionTransformer vit, AptModel? apt)
    {
        if ((plan.Init ?? plan.Pretrained) is not { } path) return null;
        LoadReport report = ModelFile.LoadInto((Nn.Module?)apt ?? vit, vit.Config, path);
        if (plan.Pretrained is not null) vit.ClearHead();
        else if (apt is not null && ModelFile.ReadStructure(path)?.Threshold is { } threshold) apt.Threshold = threshold;
        return report.ToString();
    }
}
