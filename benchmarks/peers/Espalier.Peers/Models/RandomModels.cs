using Espalier.Compression;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Peers;

/// <summary>Models with random weights. What starts at a constant gets noise, so that a forgotten bias or statistic would show.
/// </summary>
internal static class RandomModels
{
    private const float Noise = 0.05f;

    /// <summary>Xavier matrices.</summary>
    public static VisionTransformer Vit(VitConfig config)
    {
        var vit = new VisionTransformer(config, seed: 1);
        var rng = new Rng(2);
        foreach (var (name, value) in vit.NamedParameters())
        {
            if (name == "head.weight")
            {
                Init.XavierUniform(value, ref rng);
            }
            else if (value.Rank == 1 || name.EndsWith("cls_token", StringComparison.Ordinal)
                || name.EndsWith("position_embeddings", StringComparison.Ordinal))
            {
                bool scale = name.Contains("norm.weight", StringComparison.Ordinal);
                foreach (ref float x in value.Span) x = (scale ? 1 : 0) + Noise * rng.NextNormal();
            }
        }
        return vit;
    }

    /// <summary>He's initialisation; batch norms that have seen something.</summary>
    /// <param name="keep">Share of the multiply-adds to keep at most.</param>
    public static Cnn Cnn(CnnConfig config, double keep, out long multiplyAdds)
    {
        Cnn net = CnnPresets.Create(config);
        net.Training = false;
        var rng = new Rng(2);
        foreach (var (name, value) in net.StateDict())
        {
            if (value.Rank != 1) continue;
            bool scale = name.EndsWith("weight", StringComparison.Ordinal) || name.EndsWith("running_var", StringComparison.Ordinal);
            foreach (ref float x in value.Span) x = (scale ? 1 : 0) + Noise * rng.NextNormal();
        }
        using var scope = new Scope();
        Tensor image = Tensor.Zeros(new Shape(1, config.Channels, config.ImageSize, config.ImageSize));
        using DependencyGraph graph = DependencyGraph.Build(net.Trace(), image);
        multiplyAdds = graph.MultiplyAdds();
        if (keep >= 1) return net;
        multiplyAdds = Prune(graph, keep);
        return net;
    }

    /// <summary>The same share of every layer goes, which of its channels makes no difference to the time.</summary>
    private static long Prune(DependencyGraph graph, double keep)
    {
        var selection = new SelectionOptions { TargetFlops = keep };
        var scores = new ChannelScores();
        foreach (ChannelGroup group in selection.Candidates(graph))
            scores.Set(group, [.. Enumerable.Range(0, group.Count).Select(k => (double)k)]);
        RemovalPlan plan = ChannelSelector.Choose(graph, scores, selection);
        long left = graph.MultiplyAdds(plan);
        Removal.Apply(graph, plan);
        return left;
    }
}
