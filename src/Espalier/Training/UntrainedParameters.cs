using System.IO.Enumeration;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>
/// Holds still, until it is disposed, what <see cref="TrainOptions.TrainOnly"/> leaves out: parameters get no gradient, so that
/// no optimiser, momentum or weight decay touches them, and batch norms of which no parameter is trained normalise by their
/// running statistics and leave these as they are.
/// </summary>
internal sealed class UntrainedParameters : IDisposable
{
    private readonly Tensor[] parameters;
    private readonly bool skip;

    /// <param name="skip">Whether their gradients are not even computed, see <see cref="ITrainingTask.SkipsUntrained"/>.</param>
    /// <exception cref="EspalierException">A pattern fits no parameter.</exception>
    public UntrainedParameters(Graph graph, IReadOnlyList<string> patterns, bool skip)
    {
        Check(graph, patterns);
        this.skip = skip;
        parameters = [.. graph.Parameters.Where(p => patterns.Count > 0 && !patterns.Any(pattern => Fits(p.Name, pattern)))
            .Select(p => p.Value)];
        Statistics = patterns.Count == 0 ? null : RunningStatistics.Of(graph, IsUntrained).ToHashSet();
        Hold(true);
    }

    /// <summary>The running means and variances that stay as they are; null where all follow.</summary>
    public IReadOnlySet<Tensor>? Statistics { get; }

    /// <exception cref="EspalierException">A pattern fits no parameter.</exception>
    public static void Check(Graph graph, IReadOnlyList<string> patterns)
    {
        if (patterns.Count == 0) return;
        string[] names = [.. graph.Parameters.Select(p => p.Name)];
        if (patterns.FirstOrDefault(pattern => !names.Any(name => Fits(name, pattern))) is { } odd)
            throw new EspalierException($"no parameter to train matches '{odd}' of TrainOnly; there are "
                + string.Join(", ", names.Take(4)) + (names.Length > 5 ? ", ..., " : ", ") + names[^1]);
    }

    /// <summary>Takes away what a backward pass computed for them.</summary>
    public void ClearGradients()
    {
        foreach (Tensor p in parameters) p.ClearGrad();
    }

    /// <summary>Does something to the network as it is without being held still, such as writing it down: a file says which weights are
    /// parameters.</summary>
    public void Released(Action work)
    {
        Hold(false);
        try
        {
            work();
        }
        finally
        {
            Hold(true);
        }
    }

    public void Dispose() => Hold(false);

    private void Hold(bool still)
    {
        if (!skip) return;
        foreach (Tensor p in parameters) p.RequiresGrad = !still;
    }

    /// <summary>Whether neither scale nor shift of a batch norm is trained.</summary>
    private bool IsUntrained(GraphNode norm) =>
        norm.Operands.Skip(1).Take(2).All(o => !o!.Tensor.RequiresGrad || parameters.Contains(o.Tensor));

    /// <summary>By the parameter's name or its layer's: "fc" is "fc.weight" and "fc.bias".</summary>
    private static bool Fits(string name, string pattern) =>
        FileSystemName.MatchesSimpleExpression(pattern, name, ignoreCase: false)
            || FileSystemName.MatchesSimpleExpression(pattern, LayerName.Of(name), ignoreCase: false);
}
