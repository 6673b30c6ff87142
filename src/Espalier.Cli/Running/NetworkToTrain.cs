using System.Globalization;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Files;
using Espalier.Imaging;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Cli.Running;

/// <summary>A network with the weights that a run begins with, and how it is taught.</summary>
/// <param name="Start">What became of the checkpoint to start from; null where there is none.</param>
internal sealed record NetworkToTrain(Model Model, ITrainingTask Task, string? Start) : IDisposable
{
    private Teacher? teacher;

    /// <summary>How images become its input.</summary>
    public Preprocessing Preprocessing => Model.Card.Preprocessing!;

    /// <exception cref="EspalierException">The plan contradicts itself, its files or its data.</exception>
    public static NetworkToTrain Make(TrainPlan plan, DatasetPair data)
    {
        var (model, start) = ModelChoice.ToTrain(plan, data);
        try
        {
            ModelCard card = model.Card;
            model.Card = card.With(string.Create(CultureInfo.InvariantCulture,
                $"{plan.Method?.Name ?? "plain"} training: {plan.Options.Steps} steps on {data.Info.Name}")) with
            {
                Preprocessing = PreprocessChoice.Of(plan.Preprocess, model.ImageSize, model.Channels, card.Preprocessing),
                Dataset = data.Info.Name,
                Classes = model.NumClasses == data.Train.Classes ? [.. data.Train.ClassNames] : null,
            };
            return plan.Method is { } method ? ByMethod(plan, model, (ITrainingMethod)method, start) : Plain(plan, model, start);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>What is trained while a backbone is held still: the head, and agents.</summary>
    public IReadOnlyList<string> Learning() =>
    [
        .. ModelHead.Weights(ModelHead.Find(Model.Graph, Model.Description)).Select(w => w.Name),
        .. Task.ParameterGroups.Where(g => g.Name == "agents").SelectMany(g => g.Parameters).Select(p => p.Name),
    ];

    public void Dispose()
    {
        Model.Dispose();
        teacher?.Dispose();
    }

    private static NetworkToTrain ByMethod(TrainPlan plan, Model model, ITrainingMethod method, string? start)
    {
        float dropout = plan.Dropout ?? method.UsualDropout ?? ModelChoice.UsualDropout(plan);
        return new NetworkToTrain(model, method.NewTask(model, dropout, plan.Recipe.LabelSmoothing, plan.Options.Seed), start);
    }

    /// <summary>Training by labels and a teacher, nothing dropped.</summary>
    private static NetworkToTrain Plain(TrainPlan plan, Model model, string? start)
    {
        foreach (Tensor unread in TokenAgents.Remove(model.Graph)) unread.Dispose();
        float? dropout = plan.Dropout ?? (plan.IsTransformer ? ModelChoice.UsualDropout(plan) : null);
        if (dropout is { } rate) model.Graph.SetDropout(rate);
        Teacher? teacher = plan.Recipe.LoadTeacher(model.NumClasses, model.Card.Classes, model.Card.Preprocessing!);
        var task = new ClassifierTask(model, plan.Recipe.Task(teacher) with
        {
            Identity =
            [
                ("Dropout", dropout?.ToString(CultureInfo.InvariantCulture) ?? "the network's own"),
                ("Teacher", Path.GetFileName(plan.Recipe.Teacher) ?? "none"),
            ],
        });
        return new NetworkToTrain(model, task, start) { teacher = teacher };
    }
}
