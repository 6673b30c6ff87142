using Espalier.Data;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>What a method adds to ordinary training: loss terms, terms of the gradient, masks, what follows a step.</summary>
public interface ITrainingHook
{
    /// <summary>Options of the method that decide which weights come out, as in <see cref="ITrainingTask.Identity"/>.</summary>
    IReadOnlyList<(string Name, string Value)> Identity => [];

    /// <summary>Values of the network's graph that <see cref="Loss"/> looks at beside the logits. Asked once, when the training
    /// begins.</summary>
    IReadOnlyList<GraphValue> Watched => [];

    /// <summary>Parameters that no weight decay may draw towards zero beside what the method does. Asked once, when the
    /// training begins.</summary>
    IReadOnlyList<Tensor> WithoutDecay => [];

    /// <summary>Parameters that learn at another rate than the others, as a share of the run's. Asked once, when the training
    /// begins.</summary>
    IReadOnlyDictionary<Tensor, float> Rates => new Dictionary<Tensor, float>();

    /// <summary>What this micro-batch runs in place of the network: a copy with other ops, which shares its weights; the network
    /// itself where nothing changes.</summary>
    Graph ForStep(Graph network, in StepContext context) => network;

    /// <summary>Before the forward pass of a micro-batch.</summary>
    void BeforeForward(in StepContext context) { }

    /// <summary>What is added to the loss, [], a mean over the images; null for nothing. It is recorded.</summary>
    Tensor? Loss(TrainingPass pass, in StepContext context) => null;

    /// <summary>After the backward pass of a micro-batch: may add to the gradients, times the context's scale.</summary>
    void AfterBackward(in StepContext context) { }

    /// <summary>After the optimiser's step.</summary>
    /// <param name="step">The step that was done, from 1.</param>
    void AfterStep(long step) { }

    /// <summary>Adds what it remembers from step to step, and is not in the network, to a checkpoint.</summary>
    void SaveState(StateWriter state) { }

    /// <summary>Takes back what <see cref="SaveState"/> added.</summary>
    void LoadState(StateReader state) { }
}

/// <summary>One recorded forward pass in training, as loss terms see it.</summary>
/// <param name="Images">[N, C, S, S].</param>
/// <param name="Logits">[N, K].</param>
/// <param name="Teacher">The teacher's logits [N, K], without gradient; null where there is none.</param>
public sealed record TrainingPass(Batch Batch, Tensor Images, Tensor Logits, Tensor? Teacher)
{
    internal Dictionary<string, Tensor> Values { get; } = [];

    /// <summary>The targets [N, K] of mixed images, smoothed already; null where the batch has the labels.</summary>
    internal Tensor? Mixed { get; init; }

    /// <summary>ε of label smoothing.</summary>
    internal float LabelSmoothing { get; init; }

    /// <summary>The loss by labels of any logits [N, K], as the network's own have it: [].</summary>
    internal Tensor LabelLoss(Tensor logits) =>
        Mixed is null ? F.CrossEntropy(logits, Batch.Labels, LabelSmoothing) : F.CrossEntropy(logits, Mixed);

    /// <summary>A value that the hook has <see cref="ITrainingHook.Watched"/>, with its gradient.</summary>
    public Tensor this[GraphValue value] => Values.TryGetValue(value.Name, out Tensor? there) ? there
        : throw new ArgumentException($"{value} was not watched");
}

/// <summary>
/// Other networks' values of the same images, as constants: what a loss term compares with, such as those of the network before
/// it was changed.
/// </summary>
/// <param name="graph">Of one input.</param>
/// <param name="values">Of the graph.</param>
public sealed class FrozenPass(Graph graph, IReadOnlyList<GraphValue> values)
{
    private readonly Graph part = graph.Between(graph.Inputs, values).Prepared(training: false);

    /// <summary>The values, in their order; they live as long as the caller's scope.</summary>
    public Tensor[] Run(Tensor images)
    {
        using Recording.PauseBlock _ = Recording.Pause();
        return part.Run([images]);
    }
}
