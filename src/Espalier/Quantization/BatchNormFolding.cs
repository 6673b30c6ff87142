using Espalier.Tensors;

namespace Espalier.Quantization;

/// <summary>
/// Takes batch norms into the convolutions before them, W g / sqrt(v + eps) and beta + (b - mean) g / sqrt(v + eps), for good: a
/// convolution is then rounded as it is used.
/// </summary>
public static class BatchNormFolding
{
    /// <summary>Folds what can be folded: norms behind a convolution that nobody else reads, whose weight nobody else uses. Where
    /// that weight is rounded its codes stay what they are but for their signs, and each output has a scale of its own
    /// afterwards.</summary>
    /// <returns>How many norms are gone.</returns>
    public static int Apply(Graph graph)
    {
        int folded = 0;
        foreach (GraphNode node in graph.Nodes.ToArray())
        {
            if (node.Op is not BatchNorm2dOp norm || node.Operands.Skip(1).Any(o => o is not { IsWeight: true })) continue;
            GraphValue x = node.Operands[0]!;
            if (x.Producer is not { Op: Conv2dOp } conv || Readers(graph, x) != 1 || graph.Outputs.Contains(x)) continue;
            var layer = new QuantisedLayer(conv);
            if (layer.Weight is not { IsWeight: true } weight || Readers(graph, weight) != 1) continue;
            if (conv.Operands[1] != weight && Readers(graph, conv.Operands[1]!) != 1) continue;
            if (conv.Operands.ElementAtOrDefault(2) is { } old && (!old.IsWeight || Readers(graph, old) != 1)) continue;
            conv = WithBias(graph, conv);
            float[][] vectors = [.. node.Operands.Skip(1).Select(o => o!.Tensor.ToArray())];
            if (conv.Operands[1] != weight) FoldScales(graph, new QuantisedLayer(conv).Codes, vectors, norm.Epsilon);
            Fold(weight.Tensor, conv.Operands[2]!.Tensor, vectors, norm.Epsilon);
            graph.Remove(graph.Nodes.Single(n => n.Output == node.Output));
            folded++;
        }
        foreach (Tensor unread in graph.DropUnreadWeights()) unread.Dispose();
        return folded;
    }

    /// <param name="norm">Gamma, beta, mean and variance, each [outputs].</param>
    internal static void Fold(Tensor weight, Tensor bias, float[][] norm, float epsilon)
    {
        int outputs = weight.Shape[0], width = (int)(weight.Length / outputs);
        for (int o = 0; o < outputs; o++)
        {
            double factor = norm[0][o] / Math.Sqrt(norm[3][o] + (double)epsilon);
            foreach (ref float w in weight.Span.Slice(o * width, width)) w = (float)(w * factor);
            bias.Span[o] = (float)(norm[1][o] + (bias.Span[o] - (double)norm[2][o]) * factor);
        }
    }

    /// <summary>The scales of a rounded weight, times what its outputs are multiplied with.</summary>
    private static void FoldScales(Graph graph, QuantisedValue codes, float[][] norm, float epsilon)
    {
        int outputs = codes.Source.Shape[0];
        Tensor scales = Tensor.Unscoped(new Shape(outputs));
        for (int o = 0; o < outputs; o++)
        {
            double factor = Math.Abs(norm[0][o] / Math.Sqrt(norm[3][o] + (double)epsilon));
            scales.Span[o] = codes.Scale.Span[codes.Axis < 0 ? 0 : o] * (float)(factor == 0 ? 1 : factor);
        }
        if (codes.Axis == 0)
        {
            scales.Span.CopyTo(codes.Scale.Span);
            scales.Dispose();
            return;
        }
        (CodeFormat format, string name) = (codes.Format, codes.Node.Name);
        GraphValue made = graph.Replace(codes.Node, x => F.Quantise(x[0], scales, null, format.Low, format.High, axis: 0),
            [(codes.Source.Name + ".scales", scales)]);
        made.Name = name;
    }

    /// <summary>The layer with a bias, of zeros where it had none.</summary>
    internal static GraphNode WithBias(Graph graph, GraphNode layer)
    {
        if (layer.Operands.ElementAtOrDefault(2) is not null) return layer;
        GraphValue weight = new QuantisedLayer(layer).Weight;
        string name = weight.Name.EndsWith(".weight", StringComparison.Ordinal) ? weight.Name[..^".weight".Length] : weight.Name;
        string output = layer.Name, free = $"{name}.bias";
        for (int i = 1; graph.Weights.ContainsKey(free); i++) free = $"{name}.bias.{i}";
        Tensor bias = Tensor.Parameter(new Shape(weight.Shape[0]));
        Op op = layer.Op;
        GraphValue made = graph.Replace(layer, x => op.On([x[0], x[1], bias, .. x.Skip(2)]).Run(), [(free, bias)]);
        made.Name = output;
        return made.Producer!;
    }

    internal static int Readers(Graph graph, GraphValue value) => graph.Nodes.Sum(n => n.Inputs.Count(i => i == value));
}
