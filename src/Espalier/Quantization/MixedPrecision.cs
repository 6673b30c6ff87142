using Espalier.Tensors;

namespace Espalier.Quantization;

/// <summary>How much each layer alone costs when it is rounded, and which layers to round how far.</summary>
public static class MixedPrecision
{
    /// <summary>
    /// The Kullback-Leibler divergence of the network's answers where only one layer is rounded from its answers where none is, for
    /// each layer of a rounded network.
    /// </summary>
    /// <param name="graph">As <see cref="PostTraining"/> left it, without second moments and correction of biases: these leave no
    /// float weights to compare with.</param>
    /// <param name="images">[N, ..], not many: the network runs once for each layer.</param>
    public static IReadOnlyDictionary<string, double> Sensitivities(Graph graph, IReadOnlyList<string> layers, Tensor images)
    {
        using Recording.PauseBlock pause = Recording.Pause();
        using var scope = new Scope();
        float[] floats = Answers(graph, null, images);
        int classes = graph.Outputs[0].Shape[-1];
        return layers.ToDictionary(name => name, name =>
        {
            using var inner = new Scope();
            return Divergence(floats, Answers(graph, name, images), classes);
        });
    }

    /// <summary>
    /// Bits for each layer: the least sum of sensitivities within a budget of bits in all. Exact but for a rounding of sizes up
    /// to a share of the budget, 1/65536.
    /// </summary>
    /// <param name="choices">For each layer its choices: bits in all, and the sensitivity then.</param>
    /// <returns>Which choice of each layer; null where none fits.</returns>
    public static int[]? Allocate(IReadOnlyList<IReadOnlyList<(long Bits, double Sensitivity)>> choices, long budget)
    {
        const int Steps = 1 << 16;
        if (budget < 0) return null;
        double step = Math.Max(1, budget / (double)Steps);
        int most = (int)(budget / step);
        var best = new double[most + 1];
        var chosen = new byte[choices.Count, most + 1];
        for (int layer = 0; layer < choices.Count; layer++)
        {
            var next = new double[most + 1];
            Array.Fill(next, double.PositiveInfinity);
            for (int c = 0; c < choices[layer].Count; c++)
            {
                var (bits, sensitivity) = choices[layer][c];
                long size = (long)Math.Ceiling(bits / step);
                for (long at = size; at <= most; at++)
                {
                    double sum = best[at - size] + sensitivity;
                    if (sum < next[at]) (next[at], chosen[layer, at]) = (sum, (byte)c);
                }
            }
            best = next;
        }
        if (double.IsInfinity(best[most])) return null;
        var result = new int[choices.Count];
        long left = most;
        for (int layer = choices.Count - 1; layer >= 0; layer--)
        {
            result[layer] = chosen[layer, left];
            left -= (long)Math.Ceiling(choices[layer][result[layer]].Bits / step);
        }
        return result;
    }

    /// <summary>
    /// Rounds as many layers as leave the network as good as it is to be: the most sensitive ones stay floats, as few as do.
    /// </summary>
    /// <param name="fresh">Gives the float network anew.</param>
    /// <param name="quality">Measures a rounded network, such as its accuracy.</param>
    /// <param name="least">What that is to be.</param>
    /// <returns>The rounded network, which is the caller's.</returns>
    /// <exception cref="EspalierException">It is not reached however few layers are rounded.</exception>
    public static (Model Model, PostTrainingResult Result) Reach(Func<Model> fresh, IEnumerable<Tensor> images,
        PostTrainingOptions options,
        Func<Model, double> quality, double least)
    {
        Model model = fresh();
        PostTrainingResult result = PostTraining.Run(model.Graph, images, options);
        double reached = quality(model);
        if (reached >= least) return (model, result);
        string[] order = BySensitivity(fresh, images, options);
        // The fewest floats, by halves: quality rises with them, but for noise.
        (Model, PostTrainingResult)? best = null;
        for (int low = 1, high = order.Length - 1; low <= high;)
        {
            int floats = best is null && low == 1 ? Math.Min(high, Math.Max(1, order.Length / 8)) : (low + high) / 2;
            model.Dispose();
            model = fresh();
            HashSet<string> kept = [.. options.Floats, .. order[..floats]];
            result = PostTraining.Run(model.Graph, images, options with { Floats = kept });
            double now = quality(model);
            reached = Math.Max(reached, now);
            if (now < least)
            {
                low = floats + 1;
                continue;
            }
            best?.Item1.Dispose();
            best = (model, result with { Notes = [.. result.Notes, $"{floats} sensitive layers left as floats"] });
            model = fresh();
            high = floats - 1;
        }
        model.Dispose();
        return best ?? throw new EspalierException(
            $"the least quality asked for, {least:0.####}, is not reached: {reached:0.####} at best; ask for less, or train with rounding");
    }

    /// <summary>The layers that would be rounded, the most sensitive first, by the first batch.</summary>
    internal static string[] BySensitivity(Func<Model> fresh, IEnumerable<Tensor> images, PostTrainingOptions options)
    {
        using Model model = fresh();
        PostTrainingResult result = PostTraining.Run(model.Graph, images, options.Uncorrected);
        foreach (Tensor batch in images)
        {
            IReadOnlyDictionary<string, double> cost = Sensitivities(model.Graph, result.Layers, batch);
            return [.. result.Layers.OrderByDescending(l => cost[l])];
        }
        return [];
    }

    /// <summary>Logits where only this layer is rounded; of no layer for null.</summary>
    private static float[] Answers(Graph graph, string? layer, Tensor images)
    {
        Graph copy = graph.Copy();
        GraphNode? own = copy.Nodes.FirstOrDefault(n => n.Name == layer);
        HashSet<GraphValue> stay = own is null ? [] : [own.Operands[0]!, own.Operands[1]!];
        foreach (GraphNode node in copy.Nodes.ToArray())
        {
            if (node.Op is not QuantiseOp) continue;
            if (!stay.Contains(node.Output)) copy.Redirect(node.Output, node.Operands[0]!, _ => true);
            else if (!node.Operands[0]!.IsWeight)
            {
                // Others read the value as it is.
                copy.Redirect(node.Output, node.Operands[0]!, n => n != own);
            }
        }
        copy.RemoveUnread();
        return copy.Run(images).ToArray();
    }

    /// <summary>The mean over images of KL(p | q), p and q being the softmax of the logits.</summary>
    internal static double Divergence(float[] p, float[] q, int classes)
    {
        double sum = 0;
        for (int i = 0; i < p.Length; i += classes)
        {
            double a = LogSum(p.AsSpan(i, classes)), b = LogSum(q.AsSpan(i, classes));
            for (int c = 0; c < classes; c++) sum += Math.Exp(p[i + c] - a) * (p[i + c] - a - (q[i + c] - b));
        }
        return sum / (p.Length / classes);
    }

    private static double LogSum(ReadOnlySpan<float> logits)
    {
        double most = System.Numerics.Tensors.TensorPrimitives.Max(logits), sum = 0;
        foreach (float x in logits) sum += Math.Exp(x - most);
        return most + Math.Log(sum);
    }
}
