using Espalier.Benchmarking;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>What one op of a forward pass costs.</summary>
/// <param name="Name">The layer whose parameters it uses, such as "attn.query"; else the op's own name.</param>
/// <param name="ActivationBytes">Size of its result.</param>
/// <param name="MovedBytes">Read and written, each operand once.</param>
/// <param name="Time">Median over the passes.</param>
public sealed record OpProfile(string Name, string Op, long MultiplyAdds, long ActivationBytes, long MovedBytes, TimeSpan Time);

/// <summary>One stage of the model: the embeddings, a block, or the head.</summary>
/// <param name="Parameters">Numbers that it owns.</param>
public sealed record LayerProfile(string Name, long Parameters, IReadOnlyList<OpProfile> Ops)
{
    public long MultiplyAdds => Ops.Sum(o => o.MultiplyAdds);

    public long ActivationBytes => Ops.Sum(o => o.ActivationBytes);

    public long MovedBytes => Ops.Sum(o => o.MovedBytes);

    public TimeSpan Time => new(Ops.Sum(o => o.Time.Ticks));
}

/// <summary>Where the time of a vision transformer's unpruned forward pass goes, read from a timed recording.</summary>
public static class VitProfile
{
    private const string BlockPrefix = "transformer.encoder.layer.";

    /// <param name="images">[B, C, S, S].</param>
    /// <param name="passes">Timed passes; others come before them, for code and memory to be ready.</param>
    public static IReadOnlyList<LayerProfile> Run(VisionTransformer vit, Tensor images, int passes = 5)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(passes, 1);
        bool training = vit.Training;
        vit.Training = false;
        try
        {
            new Rounds().Settle([new TimedWork(() => Pass(vit, images))]);
            Timed[] runs = [.. Enumerable.Range(0, passes).Select(_ => Pass(vit, images))];
            return Layers(vit, runs);
        }
        finally
        {
            vit.Training = training;
        }
    }

    private static Timed Pass(VisionTransformer vit, Tensor images)
    {
        var names = vit.NamedParameters().ToDictionary(p => p.Value, p => p.Name);
        var ends = new List<int>();
        using var scope = new Scope();
        using var recording = new Recording(gradients: false, timed: true);
        TokenRows x = vit.Embed(images);
        ends.Add(recording.Ops.Count);
        for (int i = 0; i < vit.Config.NumLayers; i++)
        {
            x = vit.Block(i, x);
            ends.Add(recording.Ops.Count);
        }
        vit.Classify(x);
        ends.Add(recording.Ops.Count);
        return new Timed([.. recording.Ops.Select((op, i) => new OpProfile(Label(op, names), op.Name, op.Cost.MultiplyAdds,
            op.Output.Length * sizeof(float), op.Cost.Bytes, recording.Times[i]))], ends);
    }

    private static List<LayerProfile> Layers(VisionTransformer vit, Timed[] runs)
    {
        var layers = new List<LayerProfile>();
        int start = 0;
        for (int i = 0; i < runs[0].Ends.Count; i++)
        {
            string name = i == 0 ? "embeddings" : i > vit.Config.NumLayers ? "head" : $"layer.{i - 1}";
            OpProfile[] ops = [.. Enumerable.Range(start, runs[0].Ends[i] - start).Select(o =>
                runs[0].Ops[o] with { Time = runs.Select(r => r.Ops[o].Time).Order().ElementAt(runs.Length / 2) })];
            layers.Add(new LayerProfile(name, Parameters(vit, i), ops));
            start = runs[0].Ends[i];
        }
        return layers;
    }

    private static long Parameters(VisionTransformer vit, int stage) => vit.NamedParameters().Where(p => stage switch
    {
        0 => p.Name.StartsWith("transformer.embeddings.", StringComparison.Ordinal),
        _ when stage <= vit.Config.NumLayers => p.Name.StartsWith($"{BlockPrefix}{stage - 1}.", StringComparison.Ordinal),
        _ => p.Name.StartsWith("head", StringComparison.Ordinal) || p.Name.Contains("encoder_norm", StringComparison.Ordinal),
    }).Sum(p => p.Value.Length);

    private static string Label(Op op, Dictionary<Tensor, string> names)
    {
        string? name = op.Inputs.Select(t => names.GetValueOrDefault(t)).FirstOrDefault(n => n is not null);
        if (name is null) return op.Name;
        string layer = name[..name.LastIndexOf('.')];
        if (!layer.StartsWith(BlockPrefix, StringComparison.Ordinal)) return layer.Split('.')[^1];
        return layer[(layer.IndexOf('.', BlockPrefix.Length) + 1)..];
    }

    /// <summary>One pass: its ops, and how many of them were done at the end of each stage.</summary>
    private sealed record Timed(OpProfile[] Ops, List<int> Ends);
}
