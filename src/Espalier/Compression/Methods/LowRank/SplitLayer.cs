using Espalier.Tensors;

namespace Espalier.Compression.Methods.LowRank;

/// <summary>How a layer becomes two.</summary>
public enum SplitForm
{
    /// <summary>A convolution as one of columns of the kernel and one of rows, k x 1 and 1 x k.</summary>
    Spatial,

    /// <summary>A convolution as one of the whole kernel to fewer channels, and a pointwise one.</summary>
    Channel,
}

/// <summary>
/// A convolution or linear layer that may become two thinner ones, y = B(A x): its weight as a matrix whose rows A reads and
/// whose columns B makes, and what each of its ranks costs. Of a layer in groups each group is split alone, all to the same rank.
/// </summary>
internal sealed class SplitLayer
{
    private readonly int taps, secondTaps;

    private SplitLayer(GraphNode node, string name, SplitForm form, int images)
    {
        (Node, Name, Form) = (node, name, form);
        Shape w = Weight.Shape, x = node.Op.Inputs[0].Shape, y = node.Op.Result;
        double rankCost;
        Cost = (double)node.Op.Cost.MultiplyAdds / images;
        if (node.Op is Conv2dOp)
        {
            Groups = ((Conv2dOp)node.Op).Groups;
            (Inputs, Outputs) = (w[1], w[0] / Groups);
            (taps, secondTaps) = form == SplitForm.Spatial ? (w[2], w[3]) : (w[2] * w[3], 1);
            // With a stride for its rows alone the first half still makes every column.
            double middle = (double)y[2] * (form == SplitForm.Spatial ? x[3] : y[3]), last = (double)y[2] * y[3];
            rankCost = Groups * (middle * Inputs * taps + last * Outputs * secondTaps);
        }
        else
        {
            (Inputs, Outputs, Groups, taps, secondTaps) = (w[1], w[0], 1, 1, 1);
            rankCost = Cost / ((double)Inputs * Outputs) * (Inputs + Outputs);
        }
        int most = (int)Math.Round(Cost / rankCost, MidpointRounding.AwayFromZero);
        Ranks = new LayerRanks(Cost, rankCost, Math.Min(most, Math.Min(Rows, MatrixColumns)));
    }

    public GraphNode Node { get; }

    public string Name { get; }

    public SplitForm Form { get; }

    public GraphValue Weight => Node.Operands[1]!;

    public GraphValue? Bias => Node.Operands.ElementAtOrDefault(2);

    /// <summary>Channels that a group reads.</summary>
    public int Inputs { get; }

    /// <summary>Channels that a group makes.</summary>
    public int Outputs { get; }

    public int Groups { get; }

    /// <summary>Rows of the matrix of a group: what an entry of A reads.</summary>
    public int Rows => Inputs * taps;

    /// <summary>Its columns: what B makes of an entry.</summary>
    public int MatrixColumns => Outputs * secondTaps;

    /// <summary>Multiply-adds of the layer as it is, for an image.</summary>
    public double Cost { get; }

    /// <summary>The ranks that it may have, and what they cost.</summary>
    public LayerRanks Ranks { get; }

    /// <summary>Whether it is an image's first layer.</summary>
    public bool IsFirst { get; private init; }

    /// <summary>Whether it is the pointwise convolution on a residual block's shortcut.</summary>
    public bool IsProjection { get; private init; }

    /// <summary>The convolutions and linear layers of a graph that could have fewer ranks.</summary>
    /// <param name="form">Of convolutions with a kernel; pointwise ones, and the one that reads images, are split by
    /// channels.</param>
    /// <param name="selection">Least ranks, multiples, and layers to leave alone.</param>
    /// <param name="groups">Of those in groups; as the others where nothing is said.</param>
    /// <exception cref="EspalierException">A pattern of those matches no such layer.</exception>
    public static SplitLayer[] Find(Graph graph, SplitForm form, SelectionOptions selection, SplitForm? groups = null)
    {
        ILookup<GraphValue, GraphNode> readers = graph.Nodes.SelectMany(n => n.Inputs.Distinct().Select(i => (i, n)))
            .ToLookup(p => p.i, p => p.n);
        var all = new List<SplitLayer>();
        foreach (GraphNode node in graph.Nodes)
        {
            if (node.Op is not (Conv2dOp or LinearOp) || node.Operands[1] is not { IsWeight: true } weight) continue;
            if (readers[weight].Count() > 1) continue;
            // A classifier is not worth its errors, and a channel alone has one rank.
            if (node.Op is LinearOp && graph.Outputs.Contains(node.Output)) continue;
            if (node.Op is Conv2dOp { Groups: > 1 } && weight.Shape[1] == 1) continue;
            bool first = ReadsImages(node.Operands[0]!);
            bool pointwise = node.Op is LinearOp || weight.Shape[2] * weight.Shape[3] == 1;
            string name = weight.Name.EndsWith(".weight", StringComparison.Ordinal) ? weight.Name[..^".weight".Length]
                : node.Name;
            SplitForm own = first || pointwise ? SplitForm.Channel : node.Op is Conv2dOp { Groups: > 1 } ? groups ?? form : form;
            var layer = new SplitLayer(node, name, own, graph.Inputs[0].Shape[0])
            {
                IsFirst = first, IsProjection = node.Op is Conv2dOp && pointwise && readers[node.Operands[0]!].Count() > 1
                    && EndsInSum(node.Output),
            };
            layer.Ranks.Limit(selection);
            if (layer.Ranks.Allowed.Length > 1) all.Add(layer);
        }
        foreach (string pattern in selection.Keep)
            if (!all.Exists(l => SelectionOptions.Matches(l.Name, pattern)))
                throw new EspalierException($"no layer that could be split matches '{pattern}'; there are "
                    + (all.Count == 0 ? "none" : string.Join(", ", all.Take(6).Select(l => l.Name))
                        + (all.Count > 6 ? ", ..." : "")));
        return [.. all.Where(l => !selection.Keeps(l.Name))];

        bool EndsInSum(GraphValue value) => readers[value].ToArray() is [var reader]
            && (reader.Op is AddOp or IndexAddOp || (reader.Op is BatchNorm2dOp && EndsInSum(reader.Output)));
    }

    /// <summary>The matrix of one group, [<see cref="Rows"/>, <see cref="MatrixColumns"/>]: of a weight W[n, c, i, j] in the
    /// spatial form M[(c, i), (j, n)], in the other M[(c, i, j), n].</summary>
    public double[] Matrix(int group)
    {
        var m = new double[Rows * MatrixColumns];
        ReadOnlySpan<float> w = Weight.Tensor.Span.Slice(group * m.Length, m.Length);
        for (int at = 0; at < m.Length; at++) m[Place(at)] = w[at];
        return m;
    }

    /// <summary>A weight of the layer's shape from the matrices of its groups.</summary>
    public void Write(IReadOnlyList<double[]> matrices, Span<float> weight)
    {
        for (int g = 0; g < matrices.Count; g++)
            for (int at = 0; at < matrices[g].Length; at++) weight[g * matrices[g].Length + at] = (float)matrices[g][Place(at)];
    }

    /// <summary>The weights of both layers at a rank. Neither has a gradient.</summary>
    /// <param name="groups">One a group.</param>
    public (Tensor First, Tensor Second) Factors(IReadOnlyList<Decomposition> groups, int rank)
    {
        (Shape a, Shape b) = FactorShapes(rank);
        Tensor first = Tensor.Unscoped(a), second = Tensor.Unscoped(b);
        Span<float> to = first.Span, back = second.Span;
        for (int g = 0; g < Groups; g++)
        {
            for (int k = 0; k < rank; k++)
            {
                Decomposition own = groups[g];
                bool there = k < own.First.Length;
                for (int i = 0; i < Rows; i++) to[(g * rank + k) * Rows + i] = there ? (float)own.First[k][i] : 0;
                for (int n = 0; n < Outputs; n++)
                    for (int j = 0; j < secondTaps; j++)
                        back[((g * Outputs + n) * rank + k) * secondTaps + j] = there ? (float)own.Second[k][j * Outputs + n] : 0;
            }
        }
        return (first, second);
    }

    /// <summary>The shapes of both weights.</summary>
    public (Shape First, Shape Second) FactorShapes(int rank)
    {
        Shape w = Weight.Shape;
        if (Node.Op is LinearOp) return (new Shape(rank, Inputs), new Shape(Outputs, rank));
        int width = Form == SplitForm.Spatial ? 1 : w[3];
        return (new Shape(Groups * rank, Inputs, w[2], width), new Shape(w[0], rank, 1, secondTaps));
    }

    /// <summary>The k x 1 convolution of the spatial form, to one channel and on shapes only: what it reads, and where.</summary>
    public Conv2dOp FirstHalf
    {
        get
        {
            var conv = (Conv2dOp)Node.Op;
            Tensor column = Tensor.Meta(new Shape(1, conv.Inputs[0].Shape[1], Weight.Shape[2], 1));
            return new Conv2dOp(Tensor.Meta(conv.Inputs[0].Shape), column, null, new Strides(conv.Stride.Rows, 1),
                new Padding(conv.Padding.Top, conv.Padding.Bottom, 0, 0), conv.Dilation);
        }
    }

    /// <summary>The convolution or linear layer as two, of which the second has the bias and what was joined to it.</summary>
    public Tensor Forward(Tensor x, Tensor first, Tensor second, Tensor? bias, Tensor? residual)
    {
        if (Node.Op is LinearOp linear) return F.Linear(F.Linear(x, first), second, bias, residual, linear.Gelu);
        var conv = (Conv2dOp)Node.Op;
        Padding p = conv.Padding;
        if (Form == SplitForm.Channel)
            return F.Conv2d(F.Conv2d(x, first, null, conv.Stride, p, conv.Dilation, Groups), second, bias, groups: Groups);
        Tensor middle = F.Conv2d(x, first, null, new Strides(conv.Stride.Rows, 1), new Padding(p.Top, p.Bottom, 0, 0),
            conv.Dilation, Groups);
        return F.Conv2d(middle, second, bias, new Strides(1, conv.Stride.Columns), new Padding(0, 0, p.Left, p.Right),
            conv.Dilation, Groups);
    }

    /// <summary>Whether nothing with weights lies between the images and a value.</summary>
    private static bool ReadsImages(GraphValue value)
    {
        while (value.Producer is { } node)
        {
            if (node.Op is Conv2dOp or LinearOp or MatMulOp) return false;
            if (node.Inputs.FirstOrDefault(i => !i.IsWeight) is not { } before) return false;
            value = before;
        }
        return !value.IsWeight;
    }

    /// <summary>Where in the matrix an entry of a group's weight is.</summary>
    private int Place(int at)
    {
        if (Form == SplitForm.Channel) return at % Rows * Outputs + at / Rows;
        int j = at % secondTaps, row = at / secondTaps % Rows, n = at / (secondTaps * Rows);
        return row * MatrixColumns + j * Outputs + n;
    }
}
