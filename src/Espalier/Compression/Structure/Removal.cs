using Espalier.Optim;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <param name="MoveConstants">
/// Whether the constant that a removed channel would emit with zero weights (through its bias, or its norm's shift and mean) goes
/// into what follows; without it a removed channel counts as zero.
/// </param>
/// <param name="Optimizer">Its momentum and moments are cut like the weights that they belong to.</param>
/// <param name="Recovered">Weights that no longer read what goes (see <see cref="Recovery"/>), of the same network and plan; they take
/// the place of constants that would be moved.</param>
public sealed record RemovalOptions(bool MoveConstants = true, Optimizer? Optimizer = null, RecoveredWeights? Recovered = null);

/// <param name="Difference">The largest difference of an output between the masked network and the smaller, on the example.</param>
/// <param name="Notes">Where constants could not be moved exactly, one line each.</param>
public sealed record RemovalReport(PlanSummary Summary, float Difference, IReadOnlyList<string> Notes);

/// <summary>Removes channels for good: the same module holds smaller parameters and buffers afterwards.</summary>
public static class Removal
{
    /// <summary>
    /// Carries out a plan in one pass. All layers keep their tensors, which become smaller, and lose their gradients. Batch norm
    /// keeps what it has learnt of the channels that stay. The result is compared with the masked network.
    /// </summary>
    /// <exception cref="EspalierException">
    /// The plan does not fit, or the forward pass fails afterwards; the model is as it was.
    /// </exception>
    public static RemovalReport Apply(DependencyGraph graph, RemovalPlan plan, RemovalOptions? options = null)
    {
        options ??= new RemovalOptions();
        PlanSummary summary = PlanSummary.Of(graph, plan);
        var cuts = new PlannedCuts(graph, plan);
        bool moves = options.MoveConstants && options.Recovered is null;
        using var scope = new Scope();
        using var swapped = new SwappedTensors();
        foreach (var (tensor, fitted) in options.Recovered?.Values ?? [])
        {
            swapped.PutCopy(tensor);
            tensor.CopyFrom(fitted);
        }
        float[] masked;
        ConstantShifts? constants = null;
        using (new MaskedModel(graph, plan, moves ? MaskKind.Constant : MaskKind.Zero))
        using (Recording recording = graph.Record(out Tensor[] outputs))
        {
            masked = Values(outputs);
            if (moves) constants = new ConstantShifts(recording.Ops, cuts, graph.Names);
        }

        Cut(swapped, cuts, constants?.Shifts);
        Action bringBack = Narrow(graph, plan, swapped);
        float difference;
        try
        {
            difference = Difference(masked, Run(graph));
        }
        catch
        {
            swapped.Dispose();
            bringBack();
            throw;
        }
        foreach (Tensor tensor in cuts.Tensors) options.Optimizer?.ReplaceState(tensor, old => cuts.Cut(tensor, old));
        swapped.Commit();
        graph.Stale = true;
        return new RemovalReport(summary, difference, constants?.Notes ?? []);
    }

    /// <summary>
    /// The smaller network until the result is disposed, which brings the full one back: to measure its time or accuracy.
    /// Removed channels count as zero.
    /// </summary>
    public static IDisposable Try(DependencyGraph graph, RemovalPlan plan)
    {
        plan.Check(graph);
        var swapped = new SwappedTensors();
        Cut(swapped, new PlannedCuts(graph, plan), null);
        return Undo(swapped, Narrow(graph, plan, swapped));
    }

    /// <summary>The same with weights that are shapes only, but for lists of channels: to see what it would be.</summary>
    internal static IDisposable TryShapes(DependencyGraph graph, RemovalPlan plan)
    {
        if (plan.Count == 0) return new Ended(() => { });
        plan.Check(graph);
        var swapped = new SwappedTensors();
        var cuts = new PlannedCuts(graph, plan);
        HashSet<Tensor> lists = [.. graph.Groups.SelectMany(g => g.Of(ChannelRole.Index)).Select(s => s.Tensor)];
        foreach (Tensor tensor in cuts.Tensors)
            swapped.Put(tensor, lists.Contains(tensor) ? cuts.Cut(tensor, tensor) : Tensor.Meta(cuts.ShapeOf(tensor)));
        return Undo(swapped, Narrow(graph, plan, swapped));
    }

    /// <summary>The largest |a - b|; infinite where one holds no number.</summary>
    public static float Difference(ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        if (a.Length != b.Length) throw new ArgumentException($"{a.Length} values and {b.Length}");
        float largest = 0;
        for (int i = 0; i < a.Length; i++)
        {
            float d = Math.Abs(a[i] - b[i]);
            largest = float.IsNaN(d) ? float.PositiveInfinity : Math.Max(largest, d);
        }
        return largest;
    }

    private static void Cut(SwappedTensors swapped, PlannedCuts cuts, IReadOnlyDictionary<Tensor, float[]>? shifts)
    {
        foreach (var (tensor, shift) in shifts ?? new Dictionary<Tensor, float[]>())
        {
            swapped.PutCopy(tensor);
            System.Numerics.Tensors.TensorPrimitives.Add(tensor.Span, shift, tensor.Span);
        }
        foreach (Tensor tensor in cuts.Tensors) swapped.Put(tensor, cuts.Cut(tensor, tensor));
    }

    private static Action Narrow(DependencyGraph graph, RemovalPlan plan, SwappedTensors swapped)
    {
        try
        {
            return graph.Narrow(plan);
        }
        catch
        {
            swapped.Dispose();
            graph.Network.Refresh();
            throw;
        }
    }

    private static Ended Undo(SwappedTensors swapped, Action bringBack) => new(() =>
    {
        swapped.Dispose();
        bringBack();
    });

    private sealed class Ended(Action end) : IDisposable
    {
        public void Dispose() => end();
    }

    /// <summary>Of all outputs, one after another.</summary>
    internal static float[] Values(IEnumerable<Tensor> outputs) => [.. outputs.SelectMany(o => o.ToArray())];

    private static float[] Run(DependencyGraph graph)
    {
        try
        {
            using Recording recording = graph.Record(out Tensor[] outputs);
            return Values(outputs);
        }
        catch (ArgumentException e)
        {
            throw new EspalierException(
                $"the network does not run without these channels, nothing was removed: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }
}
