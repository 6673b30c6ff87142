using Espalier.Tensors;

namespace Espalier.Compression.Methods.LowRank;

/// <summary>A layer and what it becomes.</summary>
/// <param name="Groups">Its decomposition, one a group.</param>
/// <param name="Shift">[outputs of all groups] that the bias takes up; null for nothing.</param>
internal sealed record LayerSplit(SplitLayer Layer, int Rank, IReadOnlyList<Decomposition> Groups, float[]? Shift = null)
{
    /// <summary>
    /// Puts two layers in the place of each, and compares the result with the network that keeps its layers with weights of as
    /// many ranks.
    /// </summary>
    /// <param name="images">To compare on: [N, C, S, S].</param>
    public static RemovalReport Apply(Model model, IReadOnlyList<LayerSplit> splits, Tensor images)
    {
        Graph graph = model.Graph;
        long parameters = model.ParameterCount, before = graph.CostPerImage.MultiplyAdds;
        float[] masked;
        using (new GraphEdit(graph))
        {
            foreach (LayerSplit split in splits) split.Replace(graph, pair: false);
            using var scope = new Scope();
            masked = graph.Run(images).ToArray();
        }
        using var edit = new GraphEdit(graph);
        foreach (LayerSplit split in splits) split.Replace(graph, pair: true);
        float difference = edit.Commit(images, masked);
        return new RemovalReport(new PlanSummary(
            [.. splits.Select(s => (s.Layer.Name, Math.Min(s.Layer.Rows, s.Layer.MatrixColumns), s.Rank))], [], parameters,
            model.ParameterCount, before, graph.CostPerImage.MultiplyAdds), difference, []);
    }

    /// <summary>The layer's weight with so many ranks.</summary>
    public void WriteTruncated(Span<float> weight) => Layer.Write([.. Groups.Select(g => g.Sum(Rank))], weight);

    private void Replace(Graph graph, bool pair)
    {
        GraphNode node = Layer.Node;
        var weights = new List<(string, Tensor)>();
        Tensor? shifted = Shift is null ? null : New("1.bias", new Shape(Shift.Length), Shifted);
        Tensor first, second;
        if (pair)
        {
            (first, second) = Layer.Factors(Groups, Rank);
            Named("0.weight", first);
            Named("1.weight", second);
        }
        else first = second = New("0.weight", Layer.Weight.Shape, WriteTruncated);
        graph.Replace(node, t =>
        {
            int next = 2;
            Tensor? bias = Layer.Bias is null ? null : t[next++];
            Tensor? residual = node.Operands.ElementAtOrDefault(3) is null ? null : t[next];
            return pair ? Layer.Forward(t[0], first, second, shifted ?? bias, residual)
                : node.Op.On(node.Op is LinearOp ? [t[0], first, shifted ?? bias, residual] : [t[0], first, shifted ?? bias])
                    .Run();
        }, weights);

        Tensor New(string name, Shape shape, Action<Span<float>> fill)
        {
            Tensor tensor = Tensor.Unscoped(shape);
            fill(tensor.Span);
            return Named(name, tensor);
        }

        Tensor Named(string name, Tensor tensor)
        {
            tensor.RequiresGrad = Layer.Weight.Tensor.RequiresGrad;
            string free = $"{Layer.Name}.{name}";
            while (graph.Weights.ContainsKey(free)) free = $"{free[..^name.Length]}_{name}";
            weights.Add((free, tensor));
            return tensor;
        }
    }

    private void Shifted(Span<float> bias)
    {
        Shift!.CopyTo(bias);
        if (Layer.Bias is { } old) System.Numerics.Tensors.TensorPrimitives.Add(bias, old.Tensor.Span, bias);
    }
}
