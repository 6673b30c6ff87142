using System.Globalization;
using Espalier.Data;
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

    /// <summary>Makes what evaluations run on, with the weights of that moment; null for the network's own forward pass.</summary>
    public Func<Session>? Session { get; init; }

    /// <summary>What else decides which weights come out, such as the network's shape, see <see cref="ITrainingTask.Identity"/>.
    /// </summary>
    public IReadOnlyList<(string Name, string Value)> Identity { get; init; } = [];

    /// <summary>Writes the model; null where it is not kept.</summary>
    public Action<string>? Save { get; init; }
}

/// <summary>
/// Supervised training of any <see cref="ImageClassifier"/>: cross-entropy with labels, mixed images and a teacher where they are
/// asked for, and the hooks of a compression method.
/// </summary>
public sealed class ClassifierTask(ImageClassifier net, ClassifierTaskOptions options) : ITrainingTask
{
    // Convolutional networks run as modules: a method may have put gates into their blocks.
    private readonly Lazy<Graph?> graph = new(() => net is not VisionTransformer ? null
        : (options.Distillation is null ? net.Trace() : net.TraceHeads()).Prepared(training: true));

    /// <inheritdoc/>
    public Module Model => net;

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        ("LabelSmoothing", options.LabelSmoothing.ToString(CultureInfo.InvariantCulture)),
        ("Mixing", options.Mixing.ToString()),
        ("Distillation", options.Distillation?.ToString() ?? "none"),
        .. options.Identity,
        .. options.Hooks.SelectMany(h => h.Identity),
    ];

    /// <inheritdoc/>
    public bool SkipsUntrained => true;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, double> Step(Batch batch, in StepContext context)
    {
        Rng rng = context.Rng;
        net.Training = true;
        Dropout.Seed(net, ref rng);
        Tensor images = batch.ToTensor(net.Channels, net.ImageSize);
        Tensor? mixed = options.Mixing.IsOn
            ? options.Mixing.Run(images, batch.Labels, net.NumClasses, options.LabelSmoothing, ref rng) : null;
        Tensor? teacher = options.Distillation is null ? null : options.Teacher!(images);
        foreach (ITrainingHook hook in options.Hooks) hook.BeforeForward(context);
        using var recording = new Recording();
        // Without a teacher all heads together learn the labels, as they are used.
        (Tensor logits, Tensor? taught) = Forward(images);
        Tensor loss = mixed is null
            ? F.CrossEntropy(logits, batch.Labels, options.LabelSmoothing) : F.CrossEntropy(logits, mixed);
        if (teacher is not null) loss = options.Distillation!.Loss(loss, taught!, teacher);
        if (!loss.RequiresGrad) throw new EspalierException("the loss depends on no parameter that TrainOnly names");
        recording.Backward(loss, context.GradientScale);
        foreach (ITrainingHook hook in options.Hooks) hook.AfterBackward(context);
        return new Dictionary<string, double> { ["loss"] = loss.Item() };
    }

    private (Tensor Logits, Tensor? Taught) Forward(Tensor images)
    {
        if (graph.Value is { } prepared)
        {
            Tensor[] outputs = prepared.Run([images], new RunContext(Training: true));
            return (outputs[0], outputs.Length > 1 ? outputs[1] : null);
        }
        return options.Distillation is null ? (net.Forward(images), null) : net.ForwardHeads(images);
    }

    /// <inheritdoc/>
    public void AfterStep(long step)
    {
        foreach (ITrainingHook hook in options.Hooks) hook.AfterStep(step);
    }

    /// <inheritdoc/>
    public EvaluationResult Evaluate(IEnumerable<Batch> batches)
    {
        using Session session = options.Session?.Invoke() ?? Session.Of(net);
        Evaluation e = new Evaluator(session).Run(batches);
        return new EvaluationResult(
            new Dictionary<string, double> { ["accuracy"] = e.Accuracy, ["loss"] = e.Loss, ["images_per_second"] = e.ImagesPerSecond },
            new Dictionary<string, double> { ["plain"] = e.Accuracy });
    }

    /// <inheritdoc/>
    public void SaveModel(string path) => options.Save?.Invoke(path);
}
