using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Compression.Methods.PatchSlimming;

/// <summary>
/// How much each output of a block weighs for the kept outputs of the last one (arXiv 2106.02852, section 3.2): s(i) = Σ over
/// heads of |A[:, i]|² |U[i, :]|², where A is the product of the attentions behind the block, rows that are gone left out, and
/// U = P |Z| of the block's own attention P and its input Z. All of one image, in double precision.
/// </summary>
internal static class Significance
{
    /// <summary>|A[:, i]|² of every output of a block: the product over the later blocks, the mean over all paths of heads, one
    /// head in each block. Exact without going through the paths.</summary>
    /// <param name="later">Attention of each later block, nearest first: [heads][outputs, inputs].</param>
    /// <param name="sameHead">Whether a path keeps to one head.</param>
    /// <returns>[paths that cannot be added up: heads, or 1][outputs of the block].</returns>
    public static double[][] Downstream(IReadOnlyList<Attended> later, bool sameHead)
    {
        int heads = sameHead ? later[0].Heads.Length : 1;
        return [.. Enumerable.Range(0, heads).Select(h => Diagonal(later, sameHead ? h : null))];
    }

    /// <summary>The score of each output of a block.</summary>
    /// <param name="own">The block's attention over all its tokens.</param>
    /// <param name="input">[tokens, width] of the block.</param>
    public static double[] Of(IReadOnlyList<Attended> later, Attended own, double[] input, bool sameHead)
    {
        double[][] down = Downstream(later, sameHead);
        int tokens = own.Outputs, width = input.Length / own.Inputs;
        double[] magnitudes = new double[input.Length], scores = new double[tokens], row = new double[width];
        TensorPrimitives.Abs<double>(input, magnitudes);
        for (int h = 0; h < own.Heads.Length; h++)
        {
            double[] weights = down[sameHead ? h : 0];
            for (int i = 0; i < tokens; i++)
            {
                Array.Clear(row);
                for (int j = 0; j < own.Inputs; j++)
                    AddTo(row, own.Heads[h][i * own.Inputs + j], magnitudes.AsSpan(j * width, width));
                scores[i] += weights[i] * TensorPrimitives.SumOfSquares<double>(row);
            }
        }
        return scores;
    }

    /// <summary>The diagonal of Aᵀ A: G = mean over heads of Pᵀ G P, from the last block to the first.</summary>
    private static double[] Diagonal(IReadOnlyList<Attended> later, int? head)
    {
        int outputs = later[^1].Outputs;
        double[] g = new double[outputs * outputs];
        for (int i = 0; i < outputs; i++) g[i * outputs + i] = 1;
        for (int l = later.Count - 1; l >= 0; l--)
        {
            Attended block = later[l];
            int rows = block.Outputs, columns = block.Inputs;
            double[] next = new double[columns * columns], product = new double[rows * columns];
            double[][] some = head is { } h ? [block.Heads[h]] : block.Heads;
            foreach (double[] p in some)
            {
                Array.Clear(product);
                for (int i = 0; i < rows; i++)
                    for (int j = 0; j < rows; j++)
                        AddTo(product.AsSpan(i * columns, columns), g[i * rows + j], p.AsSpan(j * columns, columns));
                for (int i = 0; i < rows; i++)
                    for (int c = 0; c < columns; c++)
                        AddTo(next.AsSpan(c * columns, columns), p[i * columns + c] / some.Length, product.AsSpan(i * columns,
                            columns));
            }
            g = next;
        }
        int size = later[0].Inputs;
        return [.. Enumerable.Range(0, size).Select(i => g[i * size + i])];
    }

    private static void AddTo(Span<double> sums, double factor, ReadOnlySpan<double> x) =>
        TensorPrimitives.MultiplyAdd(x, factor, sums, sums);
}

/// <summary>The attention of one block for one image.</summary>
/// <param name="Heads">[heads][outputs, inputs], rows adding up to 1.</param>
/// <param name="Outputs">Tokens that ask.</param>
/// <param name="Inputs">Tokens that they look at.</param>
internal sealed record Attended(double[][] Heads, int Outputs, int Inputs)
{
    /// <summary>softmax(q kᵀ · scale) of one image.</summary>
    /// <param name="q">[rows, columns] of all images; <paramref name="k"/> likewise.</param>
    public static Attended Of(AttentionOp op, Tensor q, Tensor k, int image)
    {
        RowSet asking = q.Rows!, asked = k.Rows!;
        int outputs = asking.Length(image), inputs = asked.Length(image), columns = op.Heads.QueryWidth;
        double[][] heads = [.. Enumerable.Range(0, op.Heads.Count).Select(_ => new double[outputs * inputs])];
        for (int h = 0; h < heads.Length; h++)
        {
            int first = op.Heads.QueryColumns[h], width = op.Heads.QueryWidthOf(h);
            for (int i = 0; i < outputs; i++)
            {
                Span<double> row = heads[h].AsSpan(i * inputs, inputs);
                ReadOnlySpan<float> query = q.Span.Slice((asking[image] + i) * columns + first, width);
                for (int j = 0; j < inputs; j++)
                    row[j] = op.Scale * TensorPrimitives.Dot(query, k.Span.Slice((asked[image] + j) * columns + first, width));
                TensorPrimitives.Subtract(row, TensorPrimitives.Max<double>(row), row);
                TensorPrimitives.Exp(row, row);
                TensorPrimitives.Divide(row, TensorPrimitives.Sum<double>(row), row);
            }
        }
        return new Attended(heads, outputs, inputs);
    }
}
