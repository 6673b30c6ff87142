using Espalier.Benchmarking;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>What one op of a forward pass costs.</summary>
/// <param name="Name">The layer whose parameters it uses, such as "attn.query"; else the op's own name.</param>
/// <param name="ActivationBytes">Size of its result.</param>
/// <param name="MovedBytes">Read and written, each operand once.</param>
/// <param name="Time">Median over the passes.</param>
public sealed record OpProfile(string Name, string Op, long MultiplyAdds, long ActivationBytes, long MovedBytes, TimeSpan Time);

/// <summary>One part of a network, such as a block, see <see cref="ImageClassifier.PartOf"/>.</summary>
/// <param name="Parameters">Numbers that it owns.</param>
public sealed record LayerProfile(string Name, long Parameters, IReadOnlyList<OpProfile> Ops)
{
    public long MultiplyAdds => Ops.Sum(o => o.MultiplyAdds);

    public long ActivationBytes => Ops.Sum(o => o.ActivationBytes);

    public long MovedBytes => Ops.Sum(o => o.MovedBytes);

    public TimeSpan Time => new(Ops.Sum(o => o.Time.Ticks));
}

/// <summary>Where the time of a network's own forward pass goes, nothing pruned, read from a timed recording.</summary>
public static class NetworkProfile
{
    /// <param name="images">[B, C, S, S].</param>
    /// <param name="passes">Timed passes; others come before them, for code and memory to be ready.</param>
    public static IReadOnlyList<LayerProfile> Run(ImageClassifier net, Tensor images, int passes = 5)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(passes, 1);
        bool training = net.Training;
        net.Training = false;
        try
        {
            new Rounds().Settle([new TimedWork(() => Pass(net, images))]);
            return Layers(net, [.. Enumerable.Range(0, passes).Select(_ => Pass(net, images))]);
        }
        finally
        {
            net.Training = training;
        }
    }

    private static (string Part, OpProfile Op)[] Pass(ImageClassifier net, Tensor images)
    {
        Dictionary<Tensor, string> names = net.NamedParameters().ToDictionary(p => p.Value, p => p.Name);
        using var scope = new Scope();
        using var recording = new Recording(gradients: false, timed: true);
        net.Forward(images);
        string part = "input";
        return [.. recording.Ops.Select((op, i) =>
        {
            // What has no parameters works for the layer before it.
            string? name = op.Inputs.Select(t => names.GetValueOrDefault(t)).FirstOrDefault(n => n is not null);
            if (name is not null) part = net.PartOf(name);
            return (part, new OpProfile(name is null ? op.Name : Label(name, part, op), op.Name, op.Cost.MultiplyAdds,
                op.Output.Length * sizeof(float), op.Cost.Bytes, recording.Times[i]));
        })];
    }

    private static List<LayerProfile> Layers(ImageClassifier net, (string Part, OpProfile Op)[][] runs)
    {
        Dictionary<string, long> parameters = net.NamedParameters().GroupBy(p => net.PartOf(p.Name))
            .ToDictionary(g => g.Key, g => g.Sum(p => p.Value.Length));
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
