using Espalier.Tensors;

namespace Espalier.Onnx;

/// <summary>
/// softmax(q kᵀ) v, however an exporter writes it. Where queries, keys and values come from is not matched step by step: the
/// reshapes, reorderings and slices on the way are run on the numbers 0, 1, 2, ..., so that every order of axes that means the
/// same is the same. A linear layer that makes all three becomes one for each.
/// </summary>
internal static class OnnxAttentionPattern
{
    /// <summary>Numbers that floats count exactly.</summary>
    private const long Most = 1 << 24;

    public static void Match(OnnxRewriter rewriter, GraphNode softmax)
    {
        if (softmax.Op is not SoftmaxOp) return;
        double scale = 1;
        GraphValue? scores = softmax.Operands[0], bias = null;
        if (OnnxRewriter.Made<AddOp>(scores) is { } add && add.Operands.FirstOrDefault(o => o!.IsWeight) is { } added)
            (bias, scores) = (added, add.Operands.FirstOrDefault(o => o != added, added));
        Shape shape = scores!.Shape;
        while (scores?.Producer is { } step && (step.Op is AffineOp { Shift: 0 } || KeepsMatrices(step)))
            (scale, scores) = (scale * ((step.Op as AffineOp)?.Scale ?? 1), step.Operands[0]);
        if (OnnxRewriter.Made<MatMulOp>(scores) is not { Op: MatMulOp { TransposeA: false, TransposeB: false } } product) return;
        GraphNode? mixed = rewriter.Reader(softmax.Output);
        while (mixed is { Op: DropoutOp } || (mixed is not null && KeepsMatrices(mixed))) mixed = rewriter.Reader(mixed.Output);
        if (mixed is not { Op: MatMulOp { TransposeA: false, TransposeB: false } }
            || mixed.Operands[1] is not { IsWeight: false } values) return;
        using var scope = new Scope();
        if (Source.Of(product.Operands[0]!, keys: false) is not { } q || Source.Of(product.Operands[1]!, keys: true) is not { } k
            || Source.Of(values, keys: false) is not { } v) return;
        int images = q.Images, heads = q.Batch / images;
        if (k.Images != images || v.Images != images || q.Batch % images != 0 || k.Tokens != v.Tokens || k.Count != v.Count
            || k.Count != k.Tokens) return;
        if (q.Columns(heads) is not { } ofQ || k.Columns(heads) is not { } ofK || v.Columns(heads) is not { } ofV) return;
        if (v.Scale != 1 || k.First != 0 || v.First != 0 || ofQ.Length != ofK.Length) return;
        if (Joined(rewriter, mixed, images, heads, q.Count, v.Width) is not { } last) return;
        GraphValue? pairs = null;
        if (bias is not null && (pairs = Pairs(rewriter, bias, shape, heads, k.Count)) is null) return;
        GraphNode at = last.Node;
        GraphValue[] x =
            [Columns(rewriter, at, q, ofQ, "q"), Columns(rewriter, at, k, ofK, "k"), Columns(rewriter, at, v, ofV, "v")];
        if (q.Count != q.Tokens)
            x[0] = rewriter.Insert(at, rewriter.Free($"{at.Name}.queries"), new SliceOp(x[0].Tensor, 1, q.First, q.Count), x[0]);
        if (rewriter.Graph.Outputs.Contains(at.Output) && !last.ImagesFirst) return;
        var op = new AttentionOp(x[0].Tensor, x[1].Tensor, x[2].Tensor, HeadLayout.Uniform(heads, q.Width, v.Width),
            (float)(scale * q.Scale * k.Scale), pairs?.Tensor);
        if (last.ImagesFirst) rewriter.Replace(at, op, x[0], x[1], x[2], pairs);
        else
        {
            string name = at.Name;
            at.Output.Name += ".old";
            GraphValue y = rewriter.Insert(at, name, op, x[0], x[1], x[2], pairs);
            // Of one query it does not matter whether images or tokens come first.
            GraphValue turned = q.Count == 1 ? y
                : rewriter.Insert(at, rewriter.Free($"{name}.turned"), new PermuteOp(y.Tensor, 1, 0, 2), y);
            if (turned.Shape == at.Output.Shape) rewriter.Forward(at.Output, turned);
            else rewriter.Replace(at, OnnxRewriter.Reshaped(turned.Tensor, rewriter.OfThree(turned), at.Output.Shape.ToArray(),
                rewriter.OfThree(at.Output).ToArray()), turned);
        }
    }

    /// <summary>Whether a node only says anew how images and heads lie in front of the scores.</summary>
    private static bool KeepsMatrices(GraphNode node) => node.Op is ReshapeOp && node.Operands[0]!.Shape is { Rank: > 2 } from
        && node.Output.Shape is { Rank: > 2 } to && (from[-2], from[-1]) == (to[-2], to[-1]);

    /// <summary>The value whose columns in that order are the heads', of a linear layer of their own where they are not all of
    /// one.</summary>
    private static GraphValue Columns(OnnxRewriter rewriter, GraphNode at, Source source, int[] columns, string what)
    {
        GraphValue all = source.Root;
        bool whole = columns.Length == all.Shape[-1] && !columns.Where((c, i) => c != i).Any();
        if (whole) return all;
        if (OnnxRewriter.Made<LinearOp>(all) is { Op: LinearOp { Residual: null, Gelu: false } linear } made
            && made.Operands[1]!.IsWeight)
        {
            GraphValue weight = made.Operands[1]!;
            GraphValue? bias = made.Operands.ElementAtOrDefault(2);
            string layer = LayerOf(made, bias) is { Length: > 0 } named ? $"{named}.{what}" : what;
            GraphValue part = rewriter.Rows($"{layer}.weight", weight, columns);
            GraphValue? shift = bias is null ? null : rewriter.Rows($"{layer}.bias", bias, columns);
            return rewriter.Insert(at, rewriter.Free($"{made.Name}.{what}"),
                new LinearOp(linear.Inputs[0], part.Tensor, shift?.Tensor), made.Operands[0], part, shift);
        }
        return rewriter.Insert(at, rewriter.Free($"{at.Name}.{what}"), new SliceOp(all.Tensor, 2, columns[0], columns.Length),
            all);
    }

    /// <summary>What checkpoints call the layer: mostly its bias still says so, when an exporter has named the weight
    /// anew.</summary>
    private static string LayerOf(GraphNode linear, GraphValue? bias)
    {
        foreach (string end in (string[])["in_proj_bias", ".bias", ".weight"])
            foreach (GraphValue? weight in (GraphValue?[])[bias, linear.Operands[1]])
                if (weight?.Name.EndsWith(end, StringComparison.Ordinal) == true) return weight.Name[..^end.Length].TrimEnd('.');
        return linear.Name;
    }

    /// <summary>What is added to the scores, as [heads, T, T].</summary>
    private static GraphValue? Pairs(OnnxRewriter rewriter, GraphValue bias, Shape scores, int heads, int tokens)
    {
        bool fits = scores.Rank == 4 && scores[1] == heads && scores[2] == tokens
            && bias.Shape.Length == (long)heads * tokens * tokens
            && bias.Shape[-1] == tokens && bias.Shape.Rank >= 3 && bias.Shape[-3] == heads;
        return !fits ? null : bias.Shape.Rank == 3 ? bias
            : rewriter.Weight($"{bias.Name}.pairs", new Shape(heads, tokens, tokens),
            bias.Tensor.RequiresGrad, to => bias.Tensor.Span.CopyTo(to));
    }

    /// <summary>The node behind which the heads are joined: [N, t, heads d], or [t, N, heads d], perhaps with its first two axes
    /// as one.</summary>
    private static (GraphNode Node, bool ImagesFirst)? Joined(OnnxRewriter rewriter, GraphNode mixed, int images, int heads,
        int rows, int width)
    {
        Shape shape = mixed.Output.Shape;
        if (shape.Length >= Most) return null;
        Tensor numbers = Counted(shape);
        for (GraphNode? node = rewriter.Reader(mixed.Output); node is { Op: ReshapeOp or PermuteOp };
            node = rewriter.Reader(node.Output))
        {
            numbers = node.Op.On([numbers]).Run();
            if (numbers.Shape[-1] != heads * width || numbers.Rank is not (2 or 3)) continue;
            bool plain = numbers.Rank == 3 && numbers.Shape[0] == images && Is(numbers, (n, i) => n * rows + i);
            if (plain) return (node, true);
            if (Is(numbers, (n, i) => i * images + n) && (numbers.Rank == 2 || numbers.Shape[0] == rows)) return (node, false);
        }
        return null;

        bool Is(Tensor t, Func<int, int, int> row)
        {
            ReadOnlySpan<float> all = t.Span;
            for (int n = 0; n < images; n++)
                for (int i = 0; i < rows; i++)
                {
                    ReadOnlySpan<float> line = all.Slice(row(n, i) * heads * width, heads * width);
                    for (int h = 0, c = 0; h < heads; h++)
                        for (int d = 0; d < width; d++, c++)
                            if (line[c] != ((n * heads + h) * rows + i) * width + d) return false;
                }
            return true;
        }
    }

    private static Tensor Counted(Shape shape)
    {
        var numbers = new Tensor(shape);
        Span<float> all = numbers.Span;
        for (int i = 0; i < all.Length; i++) all[i] = i;
        return numbers;
    }

    /// <summary>Where the numbers of one operand come from.</summary>
    /// <param name="Root">[images, tokens, columns].</param>
    /// <param name="Places">[batch, count, width] places in it, of every head of every image.</param>
    private sealed record Source(GraphValue Root, double Scale, float[] Places, int Batch, int Count, int Width)
    {
        public int Images => Root.Shape[0];

        public int Tokens => Root.Shape[1];

        /// <summary>The token that the first row is.</summary>
        public int First => (int)Places[0] / Root.Shape[2];

        /// <summary>Goes back over what only moves numbers or scales them.</summary>
        /// <param name="keys">Whether the last two axes are turned.</param>
        public static Source? Of(GraphValue value, bool keys)
        {
            double scale = 1;
            var moves = new Stack<Op>();
            GraphValue root = value;
            while (root.Producer is { } node && !IsRoot(root))
            {
                if (node.Op is AffineOp { Shift: 0 } affine) scale *= affine.Scale;
                else if (node.Op is ReshapeOp or PermuteOp or SliceOp) moves.Push(node.Op);
                else break;
                root = node.Operands[0]!;
            }
            if (root.IsWeight || root.Shape.Rank != 3 || root.Shape.Length >= Most || value.Shape.Rank < 3) return null;
            Tensor numbers = Counted(root.Shape);
            foreach (Op move in moves) numbers = move.On([numbers]).Run();
            int rank = numbers.Rank;
            if (keys) numbers = F.Transpose(numbers);
            int count = numbers.Shape[-2], width = numbers.Shape[-1];
            return new Source(root, scale, numbers.ToArray(), (int)(numbers.Length / count / width), count, width);

            static bool IsRoot(GraphValue v) => v.Producer!.Op is LinearOp;
        }

        /// <summary>The column of the root that each column of each head is, the same for all rows; null where rows are not
        /// tokens in their order.</summary>
        public int[]? Columns(int heads)
        {
            int all = Root.Shape[2], first = First;
            var columns = new int[heads * Width];
            for (int c = 0; c < columns.Length; c++) columns[c] = (int)Places[(c / Width * Count) * Width + c % Width] % all;
            for (int n = 0, at = 0; n < Images; n++)
                for (int h = 0; h < heads; h++)
                    for (int i = 0; i < Count; i++)
                        for (int c = 0; c < Width; c++, at++)
                            if (Places[at] != ((long)n * Tokens + first + i) * all + columns[h * Width + c]) return null;
            // Rows of a layer's weight can be put into any order; of what is computed, a rounded weight too, only a run can be cut out.
            bool linear = OnnxRewriter.Made<LinearOp>(Root) is { Op: LinearOp { Residual: null, Gelu: false } } made && made.Operands[1]!.IsWeight,
                run = !columns.Where((c, i) => c != columns[0] + i).Any();
            return linear || run ? columns : null;
        }
    }
}
