namespace Espalier.Tensors;

/// <summary>
/// A weight put together from the entries of a code book: block j of output o is entry codes[j, o]. Book [K, d], codes [B, O] of
/// whole numbers below K -> a weight [O, ..] of B · d values for each output. Product quantisation (Jégou, Douze and Schmid, PAMI
/// 2011).
/// </summary>
/// <remarks>
/// The book is a parameter like any other, codes are a buffer. Backward an entry gets the mean of the gradients of the blocks
/// that it stands for, or their sum.
/// </remarks>
public sealed class CodeBookOp : Op
{
    private readonly Tensor book, codes;
    private readonly int[] sizes;
    private readonly int width;
    private readonly bool mean;

    /// <param name="sizes">Extents of the weight; the first is that of the codes' second axis.</param>
    /// <param name="mean">Whether gradients are averaged over an entry's blocks; else they add up.</param>
    public CodeBookOp(Tensor book, Tensor codes, int[] sizes, bool mean = true) : base(book, codes)
    {
        if (book.Rank != 2 || codes.Rank != 2 || book.Length == 0 || sizes.Length == 0 || sizes[0] != codes.Shape[1]
            || new Shape(sizes).Length != codes.Length * book.Shape[1])
            throw new ArgumentException(
                $"CodeBook: book {book.Shape} and codes {codes.Shape} make no weight [{string.Join(",", sizes)}]");
        (this.book, this.codes, this.sizes, this.mean, width) = (book, codes, sizes, mean, book.Shape[1]);
    }

    public override string Name => "CodeBook";

    public override Shape Result => new(sizes);

    public override Cost Cost => new(0, sizeof(float) * 2 * Result.Length);

    protected override void Save(OpSettings settings) => settings.Set("sizes", sizes).Set("mean", mean);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        ForEach((block, entry) => book.Span.Slice(entry * width, width).CopyTo(y.Span[block..]));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (!Wants(book)) return;
        var (sums, counts) = (new double[book.Length], new int[book.Shape[0]]);
        ForEach((block, entry) =>
        {
            for (int i = 0; i < width; i++) sums[entry * width + i] += dy.Span[block + i];
            counts[entry]++;
        });
        Tensor grad = GradOf(book, out bool accumulate);
        if (!accumulate) grad.Fill(0);
        for (int i = 0; i < sums.Length; i++)
            grad.Span[i] += (float)(mean ? sums[i] / Math.Max(1, counts[i / width]) : sums[i]);
    }

    /// <summary>Blocks of several channels share entries: none can go alone.</summary>
    public override void Flow(ChannelFlow flow)
    {
        for (int axis = 0; axis < sizes.Length; axis++) flow.Fix(Output, axis, "a code book holds blocks of them");
    }

    /// <summary>Calls with where each block begins in the weight, and its entry.</summary>
    /// <exception cref="EspalierException">A code is past the book's size.</exception>
    private void ForEach(Action<int, int> block)
    {
        int blocks = codes.Shape[0], outputs = codes.Shape[1], entries = book.Shape[0];
        for (int j = 0; j < blocks; j++)
        {
            for (int o = 0; o < outputs; o++)
            {
                float code = codes.Span[j * outputs + o];
                if (!(code >= 0 && code < entries) || code != (int)code)
                    throw new EspalierException($"a weight of {Result} has the code {code}, and its code book has {entries} "
                        + "entries; the file is damaged");
                block((o * blocks + j) * width, (int)code);
            }
        }
    }
}

public static partial class F
{
    /// <inheritdoc cref="CodeBookOp"/>
    public static Tensor CodeBook(Tensor book, Tensor codes, int[] sizes, bool mean = true) =>
        new CodeBookOp(book, codes, sizes, mean).Run();
}
