using Espalier.Benchmarking;
using Espalier.Tensors;

namespace Espalier.Evaluation;

/// <summary>What one op of a forward pass costs.</summary>
/// <param name="Name">The layer whose parameters it uses, such as "attn.query"; else the op's own name.</param>
/// <param name="ActivationBytes">Size of its result.</param>
/// <param name="MovedBytes">Read and written, each operand once.</param>
/// <param name="Time">Median over the passes.</param>
public sealed record OpProfile(string Name, string Op, long MultiplyAdds, long ActivationBytes, long MovedBytes, TimeSpan Time);

/// <summary>One part of a network, such as a block: what a table of costs has a line for.</summary>
/// <param name="Parameters">Numbers that it owns.</param>
public sealed record LayerProfile(string Name, long Parameters, IReadOnlyList<OpProfile> Ops)
{
    public long MultiplyAdds => Ops.Sum(o => o.MultiplyAdds);

    public long ActivationBytes => Ops.Sum(o => o.ActivationBytes);

    public long MovedBytes => Ops.Sum(o => o.MovedBytes);

    public TimeSpan Time => new(Ops.Sum(o => o.Time.Ticks));
}

/// <summary>Where the time of a network's own forward pass goes, nothing dropped, read from a timed recording.</summary>
public static class NetworkProfile
{
    private const int MostWords = 3;

    /// <param name="graph">Of one input. Where it drops tokens, neither that is done nor what decides on it.</param>
    /// <param name="images">[B, C, S, S].</param>
    /// <param name="passes">Timed passes; others come before them, for code and memory to be ready.</param>
    public static IReadOnlyList<LayerProfile> Run(Graph graph, Tensor images, int passes = 5)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(passes, 1);
        Graph dense = graph.Copy();
        foreach (GraphNode node in dense.Nodes)
            if (node.Op is KeepRowsOp) dense.Redirect(node.Output, node.Operands[0]!, _ => true);
        dense.Refresh();
        new Rounds().Settle([new TimedWork(() => Pass(dense, images))]);
        return Layers(dense, [.. Enumerable.Range(0, passes).Select(_ => Pass(dense, images))]);
    }

    /// <summary>The part that a parameter belongs to: its layer's name up to the first number in it, else three words; of a
    /// transformer, whose names begin alike, the word after that.</summary>
    internal static string PartOf(string parameter)
    {
        string[] layer = parameter.Split('.')[..^1];
        string[] common = layer is ["transformer", "encoder", ..] ? layer[..2] : layer is ["transformer", ..] ? layer[..1] : [];
        string[] own = layer[common.Length..];
        int number = Array.FindIndex(own, word => word.All(char.IsAsciiDigit));
        return string.Join('.', own.Take(number >= 0 ? number + 1 : common.Length > 0 ? 1 : MostWords));
    }

    private static (string Part, OpProfile Op)[] Pass(Graph graph, Tensor images)
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false, timed: true);
        graph.Run(images);
        string part = "input";
        return [.. recording.Ops.Select((op, i) =>
        {
            // What has no parameters works for the layer before it.
            string? name = graph.Nodes[i].Inputs.FirstOrDefault(v => v.IsWeight && v.Tensor.RequiresGrad)?.Name;
            if (name is not null) part = PartOf(name);
            return (part, new OpProfile(name is null ? op.Name : Label(name, part, op), op.Name, op.Cost.MultiplyAdds,
                op.Output.Length * sizeof(float), op.Cost.Bytes, recording.Times[i]));
        })];
    }

    private static List<LayerProfile> Layers(Graph graph, (string Part, OpProfile Op)[][] runs)
    {
        Dictionary<string, long> parameters = graph.ReadWeights().Where(w => w.Tensor.RequiresGrad).GroupBy(w => PartOf(w.Name))
            .ToDictionary(g => g.Key, g => g.Sum(w => w.Shape.Length));
        return [.. Enumerable.Range(0, runs[0].Length).GroupBy(o => runs[0][o].Part).Select(part =>
            new LayerProfile(part.Key, parameters.GetValueOrDefault(part.Key), [.. part.Select(o =>
                runs[0][o].Op with { Time = runs.Select(r => r[o].Op.Time).Order().ElementAt(runs.Length / 2) })]))];
    }

    /// <summary>The layer's name within its part.</summary>
    private static string Label(string parameter, string part, Op op)
    {
        string layer = parameter[..parameter.LastIndexOf('.')];
        if (layer == part) return op.Name;
        int start = layer.IndexOf(part + ".", StringComparison.Ordinal);
        return start < 0 ? layer.Split('.')[^1] : layer[(start + part.Length + 1)..];
    }
}
