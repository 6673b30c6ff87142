using System.Globalization;
using Espalier.Data;
using Espalier.Files;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>How an image classifier is taught.</summary>
public sealed record ClassifierTaskOptions
{
    /// <summary>ε of label smoothing.</summary>
    public float LabelSmoothing { get; init; }

    /// <summary>Mixup and CutMix.</summary>
    public Mixing Mixing { get; init; } = new();

    /// <summary>How the teacher teaches; null for no teacher.</summary>
    public Distillation? Distillation { get; init; }

    /// <summary>Images [N, C, S, S] -> logits [N, K] in inference mode; given together with <see cref="Distillation"/>.</summary>
    public Func<Tensor, Tensor>? Teacher { get; init; }

    /// <summary>What a compression method adds.</summary>
    public IReadOnlyList<ITrainingHook> Hooks { get; init; } = [];

    /// <summary>What else decides which weights come out, such as the network's shape, see <see cref="ITrainingTask.Identity"/>.
    /// </summary>
    public IReadOnlyList<(string Name, string Value)> Identity { get; init; } = [];

    /// <summary>Writes the model; null for <see cref="Model.Save(string)"/>.</summary>
    public Action<string>? Save { get; init; }
}

/// <summary>
/// Supervised training of any classifier: cross-entropy with labels, mixed images and a teacher where they are asked for, and the
/// hooks of a compression method. Where DeiT's two heads are, the teacher teaches the second.
/// </summary>
public sealed class ClassifierTask : ITrainingTask
{
    private readonly ClassifierTaskOptions options;
    private readonly Model? model;
    private readonly ImageClassifier? net;
    private readonly string? identity;
    private (int Version, Graph Graph)? pass;

    public ClassifierTask(Model model, ClassifierTaskOptions options)
    {
        (this.model, this.options, Graph, identity) = (model, options, model.Graph, ModelIdentity.Of(model));
    }

    /// <summary>The same of a network that is still a module. A convolutional one runs as it is: a method may have put gates into
    /// its blocks.</summary>
    public ClassifierTask(ImageClassifier net, ClassifierTaskOptions options)
    {
        (this.net, this.options, Graph) = (net, options, net.Trace());
    }

    /// <inheritdoc/>
    public Graph Graph { get; }

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        ("LabelSmoothing", options.LabelSmoothing.ToString(CultureInfo.InvariantCulture)),
        ("Mixing", options.Mixing.ToString()),
        ("Distillation", options.Distillation?.ToString() ?? "none"),
        .. identity is null ? [] : new[] { ("Model", identity) },
        .. options.Identity,
        .. options.Hooks.SelectMany(h => h.Identity),
    ];

    /// <inheritdoc/>
    public bool SkipsUntrained => true;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, double> Step(Batch batch, in StepContext context)
    {
        Rng rng = context.Rng;
        Graph.Seed(ref rng);
        Shape input = Graph.Inputs[0].Shape;
        Tensor images = batch.ToTensor(input[1], input[2]);
        Tensor? mixed = options.Mixing.IsOn
            ? options.Mixing.Run(images, batch.Labels, Graph.Outputs[0].Shape[1], options.LabelSmoothing, ref rng) : null;
        Tensor? teacher = options.Distillation is null ? null : options.Teacher!(images);
        foreach (ITrainingHook hook in options.Hooks) hook.BeforeForward(context);
        using var recording = new Recording();
        Tensor[] outputs = net is null or VisionTransformer ? Pass().Run([images], context.Run) : RunModule(images, context.Run);
        // Without a teacher all heads together learn the labels, as they are used.
        Tensor loss = mixed is null
            ? F.CrossEntropy(outputs[0], batch.Labels, options.LabelSmoothing) : F.CrossEntropy(outputs[0], mixed);
        if (teacher is not null) loss = options.Distillation!.Loss(loss, outputs[^1], teacher);
        if (!loss.RequiresGrad) throw new EspalierException("the loss depends on no parameter that TrainOnly names");
        recording.Backward(loss, context.GradientScale);
        foreach (ITrainingHook hook in options.Hooks) hook.AfterBackward(context);
        return new Dictionary<string, double> { ["loss"] = loss.Item() };
    }

    /// <summary>The graph that a step runs, made again where an edit has changed the network.</summary>
    private Graph Pass()
    {
        if (pass is not { } known || known.Version != Graph.Version)
        {
            GraphValue[]? heads = options.Distillation is null ? null : ModelHead.Pair(Graph);
            pass = known = (Graph.Version, heads is null ? Graph : Graph.Between(Graph.Inputs, heads));
        }
        return known.Graph.Prepared(training: true);
    }

    private Tensor[] RunModule(Tensor images, RunContext run)
    {
        bool before = net!.Training;
        net.Training = true;
        foreach (BatchNorm2d norm in net.Descendants<BatchNorm2d>()) norm.IsFixed = run.Still?.Contains(norm.RunningMean) == true;
        try
        {
            return [net.Forward(images)];
        }
        finally
        {
            net.Training = before;
        }
    }

    /// <inheritdoc/>
    public void AfterStep(long step)
    {
        foreach (ITrainingHook hook in options.Hooks) hook.AfterStep(step);
    }

    /// <inheritdoc/>
    public EvaluationResult Evaluate(IEnumerable<Batch> batches)
    {
        using Session session = model is null ? Session.Of(net!) : Session.Of(model);
        Evaluation e = new Evaluator(session).Run(batches);
        return new EvaluationResult(
            new Dictionary<string, double> { ["accuracy"] = e.Accuracy, ["loss"] = e.Loss, ["images_per_second"] = e.ImagesPerSecond },
            new Dictionary<string, double> { ["plain"] = e.Accuracy });
    }

    /// <inheritdoc/>
    public void SaveModel(string path)
    {
        if (options.Save is { } save) save(path);
        else model?.Save(path);
    }
}
