using System.Globalization;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Files;
using Espalier.Inference;
using Espalier.Optim;
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

    /// <summary>Writes the model; null for <see cref="Model.Save(string, bool)"/>.</summary>
    public Action<string>? Save { get; init; }
}

/// <summary>
/// Supervised training of any classifier: cross-entropy with labels, mixed images and a teacher where they are asked for, and the
/// hooks of a compression method. Where DeiT's two heads are, the teacher teaches the second.
/// </summary>
public sealed class ClassifierTask : ITrainingTask
{
    private readonly ClassifierTaskOptions options;
    private readonly Model model;
    private (Graph Network, int Version, Graph Pass, int Heads)? known;
    private string[]? watched;

    /// <exception cref="EspalierException">The model's output is no logits [N, classes].</exception>
    public ClassifierTask(Model model, ClassifierTaskOptions options)
    {
        (this.model, this.options, Graph) = (model, options, model.Graph);
        if (Graph.Outputs[0].Shape is { Rank: not 2 } maps)
            throw new EspalierException($"{model.Description}: gives maps {maps} and no logits, which training and accuracy need; without "
                + "labels methods that need none make it smaller");
    }

    /// <inheritdoc/>
    public Graph Graph { get; }

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        ("LabelSmoothing", options.LabelSmoothing.ToString(CultureInfo.InvariantCulture)),
        ("Mixing", options.Mixing.ToString()),
        ("Distillation", options.Distillation?.ToString() ?? "none"),
        ("Model", ModelIdentity.Of(model)),
        .. options.Identity,
        .. options.Hooks.SelectMany(h => h.Identity),
    ];

    /// <inheritdoc/>
    public IReadOnlyList<ParameterGroup> ParameterGroups
    {
        get
        {
            HashSet<Tensor> spared = [.. options.Hooks.SelectMany(h => h.WithoutDecay)];
            Dictionary<Tensor, float> rates = options.Hooks.SelectMany(h => h.Rates).ToDictionary();
            if (spared.Count + rates.Count == 0) return ParameterGroup.Of(Graph);
            // Apart also where a hook's rate is that of the others: hooks change the rates of theirs while they train.
            var parts = Graph.Parameters.GroupBy(p => (Spared: spared.Contains(p.Value), Rate: rates.GetValueOrDefault(p.Value, 1),
                Own: rates.ContainsKey(p.Value)));
            var inOrder = parts.OrderBy(g => g.Key.Spared).ThenByDescending(g => g.Key.Rate).ThenBy(g => g.Key.Own);
            return [.. inOrder.Select(g => new ParameterGroup(g.Key.Spared ? "without decay" : "all", [.. g])
            {
                LearningRateScale = g.Key.Rate, WeightDecay = g.Key.Spared ? 0 : null,
            })];
        }
    }

    /// <inheritdoc/>
    public bool SkipsUntrained => true;

    /// <inheritdoc/>
    public bool RunsBackwardOnce => options.Hooks.Count == 0;

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
        Graph network = Graph;
        foreach (ITrainingHook hook in options.Hooks) network = hook.ForStep(network, context);
        using var recording = new Recording();
        (Graph run, int heads) = PassOf(network);
        Tensor[] outputs = run.Run([images], context.Run);
        // Without a teacher all heads together learn the labels, as they are used.
        var pass = new TrainingPass(batch, images, outputs[0], teacher) { Mixed = mixed, LabelSmoothing = options.LabelSmoothing };
        Tensor loss = pass.LabelLoss(outputs[0]);
        if (teacher is not null) loss = options.Distillation!.Loss(loss, outputs[heads - 1], teacher);
        if (options.Hooks.Count > 0)
        {
            for (int i = 0; i < watched!.Length; i++) pass.Values[watched[i]] = outputs[heads + i];
            foreach (ITrainingHook hook in options.Hooks)
                if (hook.Loss(pass, context) is { } more) loss = F.Add(loss, more);
        }
        if (!loss.RequiresGrad) throw new EspalierException("the loss depends on no parameter that TrainOnly names");
        recording.Backward(loss, context.GradientScale);
        foreach (ITrainingHook hook in options.Hooks) hook.AfterBackward(context);
        return new Dictionary<string, double> { ["loss"] = loss.Item() };
    }

    /// <summary>
    /// What a step runs: the network prepared for training, whose outputs are the heads and then what hooks watch; made again where
    /// it is another one than in the step before, or an edit has changed it.
    /// </summary>
    private (Graph Graph, int Heads) PassOf(Graph network)
    {
        if (known is { } last && last.Network == network && last.Version == network.Version) return (last.Pass, last.Heads);
        watched ??= [.. options.Hooks.SelectMany(h => h.Watched).Select(v => v.Name).Distinct()];
        IReadOnlyList<GraphValue> heads = (options.Distillation is null ? null : ModelHead.Pair(network)) ?? network.Outputs;
        Graph pass = watched.Length == 0 && heads == network.Outputs ? network
            : network.Between(network.Inputs, [.. heads, .. watched.Select(name => network[name])]);
        pass = pass.Prepared(training: true);
        known = (network, network.Version, pass, heads.Count);
        return (pass, heads.Count);
    }

    /// <inheritdoc/>
    public Action? BeforeStep() => options.Hooks.Count == 0 ? static () => { } : null;

    /// <inheritdoc/>
    public void AfterStep(long step)
    {
        foreach (ITrainingHook hook in options.Hooks) hook.AfterStep(step);
    }

    /// <inheritdoc/>
    public EvaluationResult Evaluate(IEnumerable<Batch> batches)
    {
        using Session session = Session.Of(model);
        ModelEvaluation e = new Evaluator(session).Run(batches);
        return new EvaluationResult(
            new Dictionary<string, double> { ["accuracy"] = e.Accuracy, ["loss"] = e.Loss, ["images_per_second"] = e.ImagesPerSecond },
            new Dictionary<string, double> { ["plain"] = e.Accuracy });
    }

    /// <inheritdoc/>
    public void SaveModel(string path)
    {
        if (options.Save is { } save) save(path);
        else model.Save(path, keepFloats: true);
    }

    /// <inheritdoc/>
    public void SaveState(StateWriter state)
    {
        for (int i = 0; i < options.Hooks.Count; i++) options.Hooks[i].SaveState(state.Section($"hook-{i}"));
    }

    /// <inheritdoc/>
    public void LoadState(StateReader state)
    {
        for (int i = 0; i < options.Hooks.Count; i++) options.Hooks[i].LoadState(state.Section($"hook-{i}"));
    }
}
