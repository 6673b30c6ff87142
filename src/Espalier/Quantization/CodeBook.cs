using Espalier.Tensors;

namespace Espalier.Quantization;

/// <summary>
/// A weight as the nearest entries of a small table: blocks of d values that follow each other in an output's row are columns,
/// block j of output o being number j · O + o, and k-means finds K blocks that stand for all of them. d = all of a row is vector
/// quantisation. Stock et al., arXiv 1907.05686; Fan et al., arXiv 2004.07320, section 4.
/// </summary>
internal sealed record CodeBook
{
    internal CodeBook(float[] entries, int[] codes, int width) => (Entries, Codes, Width) = (entries, codes, width);

    /// <summary>[K, d].</summary>
    public float[] Entries { get; }

    /// <summary>[B, O].</summary>
    public int[] Codes { get; }

    /// <summary>d.</summary>
    public int Width { get; }

    public int Count => Entries.Length / Width;

    /// <summary>A weight's blocks, one after another.</summary>
    /// <param name="weight">[O, ..], a multiple of <paramref name="width"/> values for each output.</param>
    public static float[] Columns(Tensor weight, int width)
    {
        int outputs = weight.Shape[0], blocks = checked((int)(weight.Length / outputs / width));
        var columns = new float[weight.Length];
        for (int o = 0; o < outputs; o++)
            for (int j = 0; j < blocks; j++)
                weight.Span.Slice((o * blocks + j) * width, width).CopyTo(columns.AsSpan((j * outputs + o) * width));
        return columns;
    }

    /// <summary>How many entries a book of so many columns has: at most the largest power of two below a quarter of
    /// them.</summary>
    public static int EntriesFor(long columns, int wanted)
    {
        int most = 1;
        while (most * 2L * 4 < columns && most * 2 <= wanted) most *= 2;
        return 4 * (long)wanted < columns ? wanted : most;
    }

    /// <summary>Begins with columns drawn by chance.</summary>
    public static CodeBook Fit(Tensor weight, int width, int count, int rounds, ref Rng rng)
    {
        float[] columns = Columns(weight, width);
        int n = columns.Length / width;
        var entries = new float[count * width];
        for (int k = 0; k < count; k++) columns.AsSpan(rng.NextInt(n) * width, width).CopyTo(entries.AsSpan(k * width));
        return new CodeBook(entries, KMeans.Run(columns, entries, width, rounds, ref rng), width);
    }

    /// <summary>||W - Wq||² / ||W||².</summary>
    public double Error(Tensor weight) =>
        KMeans.Error(Columns(weight, Width), Entries, Codes, Width) / Math.Max(double.Epsilon, weight.ToArray().Sum(w =>
            (double)w * w));

    /// <summary>Bytes of a weight as codes and entries of two bytes each.</summary>
    public static (double Codes, long Book) Bytes(long values, int width, int count) =>
        ((double)values / width * Math.Log2(count) / 8, 2L * count * width);

    /// <summary>A layer reads its weight from the book from now on; the weight is dropped.</summary>
    /// <param name="layer">Alone reads its weight, its second operand.</param>
    /// <param name="mean">See <see cref="CodeBookOp"/>.</param>
    public GraphNode Into(Graph graph, GraphNode layer, bool mean)
    {
        GraphValue weight = layer.Operands[1]!;
        string name = weight.Name, output = layer.Name;
        int[] sizes = weight.Shape.ToArray();
        Tensor book = Tensor.Parameter(new Shape(Count, Width)), codes = Tensor.Unscoped(new Shape(Codes.Length / sizes[0],
            sizes[0]));
        Entries.CopyTo(book.Span);
        for (int i = 0; i < Codes.Length; i++) codes.Span[i] = Codes[i];
        GraphValue[] others = [.. layer.Inputs.Where(i => i != weight)];
        GraphValue made = graph.Add(others, x =>
        {
            Tensor?[] operands = [.. layer.Operands.Select(o => o is null ? null
                : o == weight ? F.CodeBook(book, codes, sizes, mean) : x[Array.IndexOf(others, o)])];
            return layer.Op.On(operands).Run();
        }, [(name + ".book", book), (name + ".codes", codes)]);
        graph.Redirect(layer.Output, made, _ => true);
        graph.Refresh();
        made.Name = output;
        foreach (Tensor unread in graph.DropUnreadWeights()) unread.Dispose();
        return made.Producer!;
    }

    /// <summary>Rounds all books of a graph to half precision, as files hold them.</summary>
    public static void Round(Graph graph)
    {
        foreach (Tensor book in graph.Nodes.Where(n => n.Op is CodeBookOp && n.Operands[0]!.IsWeight).Select(n =>
            n.Operands[0]!.Tensor))
            foreach (ref float x in book.Span) x = (float)(Half)x;
    }
}
