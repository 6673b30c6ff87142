using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression;

/// <summary>
/// A trained factor for each channel of a value, or for each attention head: y = x · f(w). What methods learn importance or masks
/// with. It is put into the network's graph, where its parameter is trained, saved and resumed like any other, and folded into
/// the weights around it in the end.
/// <code>
/// Gate[] gates = [.. hidden.Select(value => Gate.Insert(graph, value))];
/// job.Train("sparse training", steps, new L1Penalty([.. gates.Select(g => g.Factors)], lambda, "GateLambda"));
/// Gate.Fold(graph, gates);
/// </code>
/// </summary>
public sealed class Gate
{
    private readonly HeadLayout? heads;
    private readonly Func<Tensor, Tensor> function;

    private readonly Tensor? offset;

    private Gate(GraphValue on, GraphValue output, Tensor factors, Tensor? offset, HeadLayout? heads,
        Func<Tensor, Tensor> function) =>
        (On, Output, Factors, this.offset, this.heads, this.function) = (on, output, factors, offset, heads, function);

    /// <summary>What is gated: rows [.., C], or maps [N, C, H, W].</summary>
    public GraphValue On { get; }

    /// <summary>What the readers of <see cref="On"/> read now.</summary>
    public GraphValue Output { get; }

    /// <summary>The parameter w, one number a channel ([C], of maps [C, 1, 1]) or head ([heads, 1]).</summary>
    public Tensor Factors { get; }

    /// <summary>Puts a gate behind a value.</summary>
    /// <param name="heads">Of the attention that makes the value: one factor a head, all of the same width. Null for one a
    /// channel.</param>
    /// <param name="initial">What w begins with.</param>
    /// <param name="function">What the factor is, of w; null for w itself. Such as a sigmoid.</param>
    /// <param name="hard">Whether the factor is 0 or 1 as <see cref="Harden"/> says, at first 1, while gradients come to w as if it
    /// were the factor (straight-through): y = x · (w + c), where c, which is not trained, is what is missing.</param>
    /// <exception cref="ArgumentException">The value has no axis of channels, or heads of different widths.</exception>
    public static Gate Insert(Graph graph, GraphValue value, HeadLayout? heads = null, float initial = 1,
        Func<Tensor, Tensor>? function = null, bool hard = false)
    {
        if (value.Shape.Rank < 2 || heads is { IsUniform: false } || (heads is not null && heads.ValueWidth != value.Shape[-1]))
            throw new ArgumentException($"a gate of {(heads is null ? "channels" : heads)} does not fit {value}");
        if (hard && function is not null) throw new ArgumentException("a hard gate has no other function");
        bool map = value.Shape.Rank == 4;
        Tensor factors = Tensor.Unscoped(heads is not null ? new Shape(heads.Count, 1)
            : map ? new Shape(value.Shape[1], 1, 1) : new Shape(value.Shape[-1]));
        factors.Fill(initial);
        factors.RequiresGrad = true;
        string name = $"{value.Name}.gate";
        for (int i = 1; graph.Weights.ContainsKey(name); i++) name = $"{value.Name}.gate.{i}";
        Tensor? offset = hard ? Tensor.Unscoped(factors.Shape) : null;
        offset?.Fill(1 - initial);
        function ??= offset is null ? f => f : f => F.Add(f, offset);
        GraphValue output = graph.InsertAfter(value, x =>
        {
            if (heads is null) return F.Mul(x, function(factors));
            Tensor split = F.Reshape(x, [.. x.Shape.ToArray()[..^1], heads.Count, heads.ValueWidth / heads.Count]);
            return F.Reshape(F.Mul(split, function(factors)), x.Shape);
        }, offset is null ? [(name, factors)] : [(name, factors), ($"{name}.offset", offset)]);
        return new Gate(value, output, factors, offset, heads, function);
    }

    /// <summary>The factors f(w) as they are now, one an entry of the value's channels.</summary>
    public float[] Values()
    {
        using var scope = new Scope();
        using Recording.PauseBlock _ = Recording.Pause();
        float[] values = function(Factors).ToArray();
        return heads is null ? values
            : [.. Enumerable.Range(0, heads.Count).SelectMany(h => Enumerable.Repeat(values[h], heads.ValueWidthOf(h)))];
    }

    /// <summary>Of a hard gate: opens and closes channels (or heads).</summary>
    /// <param name="isOpen">By number.</param>
    public void Harden(Func<int, bool> isOpen)
    {
        if (offset is null) throw new InvalidOperationException($"the gate on '{On.Name}' was not made as a hard one");
        for (int i = 0; i < offset.Length; i++) offset.Span[i] = (isOpen(i) ? 1 : 0) - Factors.Span[i];
    }

    /// <summary>
    /// Takes gates out of a network and multiplies the weights that make the gated values with their factors; where something
    /// else than a layer makes a value, the weights that read it. The network gives what it gave, to rounding.
    /// </summary>
    /// <exception cref="EspalierException">There are no such weights; nothing was changed.</exception>
    public static void Fold(Graph graph, IEnumerable<Gate> gates) => TakeOut(graph, gates, fold: true);

    /// <summary>Takes gates out of a network without regard to what they have learnt.</summary>
    public static void Remove(Graph graph, IEnumerable<Gate> gates) => TakeOut(graph, gates, fold: false);

    private static void TakeOut(Graph graph, IEnumerable<Gate> gates, bool fold)
    {
        using var edit = new GraphEdit(graph);
        foreach (Gate gate in gates)
        {
            float[] factors = fold ? gate.Values() : [];
            if (fold && !IntoMaker(graph, edit, gate.On, factors) && !IntoReaders(graph, edit, gate.Output, factors))
                throw new EspalierException($"the factors of '{gate.On.Name}' have no weights that they could go into: "
                    + $"{gate.On.Producer?.Op.Name ?? "an input"} makes it");
            edit.Take(gate.Output.Producer!, gate.On);
        }
        edit.Commit();
    }

    private static bool IntoMaker(Graph graph, GraphEdit edit, GraphValue value, float[] factors)
    {
        while (value.Producer is { Op: DropoutOp } && IsReadOnce(graph, value)) value = value.Producer.Operands[0]!;
        if (!IsReadOnce(graph, value) || value.Producer is not { } node) return false;
        GraphValue?[] weights = node.Op switch
        {
            LinearOp { Gelu: false, Residual: null } or Conv2dOp => [node.Operands[1], node.Operands.ElementAtOrDefault(2)],
            BatchNorm2dOp or LayerNormOp or GroupNormOp => [node.Operands[1], node.Operands[2]],
            _ => [],
        };
        if (weights.Length == 0 || !weights.All(w => w is null || (w.IsWeight && IsReadOnce(graph, w)))) return false;
        foreach (GraphValue weight in weights.OfType<GraphValue>())
            edit.Change(weight.Tensor, values =>
            {
                int width = values.Length / factors.Length;
                for (int i = 0; i < values.Length; i++) values[i] *= factors[i / width];
            });
        return true;
    }

    private static bool IntoReaders(Graph graph, GraphEdit edit, GraphValue value, float[] factors)
    {
        // A dropout hands factors on.
        GraphValue[] same = [value];
        for (int i = 0; i < same.Length; i++)
            same = [.. same, .. graph.Nodes.Where(n => n.Op is DropoutOp && n.Operands[0] == same[i]).Select(n => n.Output)];
        GraphNode[] readers = [.. graph.Nodes.Where(n => n.Op is not DropoutOp && n.Inputs.Any(same.Contains))];
        if (readers.Length == 0 || graph.Outputs.Any(same.Contains) || !readers.All(n => same.Contains(n.Operands[0])
            && n.Op is LinearOp or Conv2dOp { Groups: 1 } && n.Operands[1] is { IsWeight: true } w && IsReadOnce(graph, w)))
        {
            return false;
        }
        foreach (GraphNode reader in readers)
        {
            Tensor weight = reader.Operands[1]!.Tensor;
            int columns = weight.Shape[1], taps = (int)(weight.Length / ((long)weight.Shape[0] * columns));
            edit.Change(weight, values =>
            {
                for (int i = 0; i < values.Length; i++) values[i] *= factors[i / taps % columns];
            });
        }
        return true;
    }

    private static bool IsReadOnce(Graph graph, GraphValue value) =>
        graph.Nodes.Sum(n => n.Inputs.Count(i => i == value)) + graph.Outputs.Count(o => o == value) == 1;
}

/// <summary>Opens and closes hard gates anew before and after each step, by what they have learnt until then.</summary>
/// <param name="isOpen">Whether an entry of a gate is open.</param>
public sealed class StraightThrough(IReadOnlyList<Gate> gates, Func<Gate, int, bool> isOpen) : ITrainingHook
{
    /// <inheritdoc/>
    public void BeforeForward(in StepContext context) => AfterStep(context.Step);

    /// <summary>So that an evaluation that follows sees what was learnt.</summary>
    public void AfterStep(long step)
    {
        foreach (Gate gate in gates) gate.Harden(i => isOpen(gate, i));
    }
}
