using System.Globalization;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Quantization;

/// <summary>What noised blocks of a weight become in training.</summary>
public enum NoiseKind
{
    /// <summary>What rounding makes of them; a block is one weight.</summary>
    Integers,

    /// <summary>Zero, and the others are multiplied by 1 / (1 - p), and so are their gradients, as dropout has it: the stand-in
    /// for product quantisation.</summary>
    Proxy,

    /// <summary>The nearest entry of a code book that is fitted to the weight now and then.</summary>
    Centroids,
}

/// <summary>
/// Quantisation noise (Fan et al., arXiv 2004.07320): in each forward pass of a training every block of a weight is drawn with
/// probability p, and only those that are drawn are quantised. Gradients go through roundings and code books as if nothing had
/// been done; a zeroed block has none in that pass. The network itself stays as it is: what a step runs is a copy with other ops,
/// so that evaluation never sees noise.
/// </summary>
internal sealed class WeightNoise : ITrainingHook, IDisposable
{
    // Keeps the draws apart from those of mixing and dropout, which begin with the same numbers.
    private const ulong Stream = 0x6e_6f_69_73_65;

    private readonly NoiseKind kind;
    private readonly double share;
    private readonly Block[] blocks;
    private (Graph Network, int Version, Graph Copy)? known;

    /// <param name="weights">Each with the values of a block. Of <see cref="NoiseKind.Integers"/> the results of the roundings of
    /// weights.</param>
    /// <param name="share">p, 0 to 1; below 1 where blocks become zero.</param>
    public WeightNoise(NoiseKind kind, double share, IEnumerable<(GraphValue Value, int Block)> weights)
    {
        (this.kind, this.share) = (kind, share);
        blocks = [.. weights.Select(w => new Block(w.Value, w.Block, Tensor.Unscoped(w.Value.Shape)))];
    }

    /// <summary>The weights, in their order.</summary>
    internal IReadOnlyList<Block> Blocks => blocks;

    /// <summary>Roundings of values that training leaves out, so that values are floats there.</summary>
    public IReadOnlyList<QuantisedValue> LeftOut { get; init; } = [];

    /// <summary>Of <see cref="NoiseKind.Centroids"/>: steps between new code books, their entries, and rounds of
    /// k-means.</summary>
    public (long Every, int Entries, int Rounds) Books { get; init; } = (100, 256, 15);

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        ("Noise", string.Create(CultureInfo.InvariantCulture,
            $"{kind} {share} of {string.Join(' ', blocks.Select(b => b.Width))}")),
        ("NoiseBooks", $"{Books}"), ("NoiseValues", $"{LeftOut.Count}"),
    ];

    /// <inheritdoc/>
    public Graph ForStep(Graph network, in StepContext context)
    {
        if (kind == NoiseKind.Centroids && context.BeginsStep
            && (context.Step - 1) % Books.Every == 0) FitBooks(context.Step);
        Rng rng = context.Rng, own = new(rng.NextULong(), Stream, (ulong)context.MicroBatch);
        foreach (Block block in blocks) Draw(block, ref own);
        if (known is not { } last || last.Network != network || last.Version != network.Version)
            known = (network, network.Version, Noised(network));
        return known.Value.Copy;
    }

    /// <inheritdoc/>
    public void SaveState(StateWriter state)
    {
        foreach (Block block in blocks.Where(b => b.Book is not null)) state.Add(block.Value.Name, block.Book!);
    }

    /// <inheritdoc/>
    public void LoadState(StateReader state)
    {
        foreach (Block block in blocks.Where(b => state.Has(b.Value.Name)))
        {
            block.Book ??= Tensor.Unscoped(BookOf(block));
            state.Read(block.Value.Name, block.Book);
        }
    }

    public void Dispose()
    {
        foreach (Block block in blocks)
        {
            block.Noise.Dispose();
            foreach (Tensor? tensor in (Tensor?[])[block.Book, block.Low, block.High]) tensor?.Dispose();
        }
    }

    /// <summary>The network as it is trained: its weights with what <see cref="Draw"/> puts into their noise.</summary>
    internal Graph Noised(Graph network)
    {
        Graph copy = network.Copy();
        foreach (Block block in blocks)
        {
            GraphValue value = copy[block.Value.Name];
            // Named, as what has no name is copied.
            (string, Tensor)[] drawn = [.. new[] { block.Noise, block.Low, block.High }.OfType<Tensor>().Select((t, i) =>
                ($"noise.{i}.{value.Name}", t))];
            if (kind == NoiseKind.Integers)
            {
                if (share == 0) copy.Redirect(value, value.Producer!.Operands[0]!, _ => true);
                else copy.Replace(value.Producer!, x => Partly(block, (QuantiseOp)value.Producer!.Op, x), drawn);
                continue;
            }
            GraphValue noised = copy.Add([value], x => kind == NoiseKind.Proxy ? F.Mul(x[0], block.Noise)
                : F.Add(x[0], block.Noise), drawn);
            copy.Redirect(value, noised, n => n != noised.Producer);
        }
        foreach (QuantisedValue value in LeftOut) copy.Redirect(copy[value.Node.Name], copy[value.Source.Name], _ => true);
        copy.Refresh();
        return copy;
    }

    /// <summary>Draws blocks anew.</summary>
    internal void Draw(Block block, ref Rng rng)
    {
        Span<float> noise = block.Noise.Span;
        if (kind == NoiseKind.Integers) SetEnds(block);
        float kept = kind == NoiseKind.Proxy ? (float)(1 / (1 - share)) : 0;
        var coded = new List<int>();
        for (int start = 0; start < noise.Length; start += block.Width)
        {
            bool drawn = rng.NextDouble() < share;
            Span<float> part = noise.Slice(start, block.Width);
            if (kind == NoiseKind.Integers) part.Fill(drawn ? 1 : 0);
            else part.Fill(drawn ? 0 : kept);
            if (drawn && kind == NoiseKind.Centroids) coded.Add(start);
        }
        if (coded.Count > 0) ToNearest(block, coded);
    }

    /// <summary>What makes the nearest entries of the book of blocks as they are now, which the weight's last steps may have
    /// moved away from those that they were fitted to.</summary>
    private static void ToNearest(Block block, List<int> starts)
    {
        int width = block.Width;
        float[] values = new float[starts.Count * width], entries = block.Book!.ToArray();
        for (int i = 0; i < starts.Count; i++)
            block.Value.Tensor.Span.Slice(starts[i], width).CopyTo(values.AsSpan(i * width));
        int[] nearest = KMeans.Assign(values, entries, width);
        for (int i = 0; i < nearest.Length; i++)
            System.Numerics.Tensors.TensorPrimitives.Subtract(entries.AsSpan(nearest[i] * width, width),
                values.AsSpan(i * width, width), block.Noise.Span.Slice(starts[i], width));
    }

    /// <summary>What rounding gives where the mask is 1, else the weight, cut to the range of the codes: cut first, so that noise
    /// cannot reflect what lies outside.</summary>
    internal static Tensor Partly(Block block, QuantiseOp rounding, Tensor[] x)
    {
        Tensor all = F.Quantise(x[0], x[1], x.ElementAtOrDefault(2), rounding.Low, rounding.High, rounding.Axis);
        return F.Where(block.Noise, all, F.Pair(F.Pair(x[0], block.High!, PairFunction.Min), block.Low!, PairFunction.Max));
    }

    /// <summary>Notes the range of the codes of a rounded weight.</summary>
    internal static void SetEnds(Block block)
    {
        var rounding = new QuantisedValue(block.Value.Producer!);
        Shape ends = new([.. Enumerable.Range(0, block.Value.Shape.Rank).Select(i => i == rounding.Axis ? block.Value.Shape[i]
            : 1)]);
        (block.Low, block.High) = (block.Low ?? Tensor.Unscoped(ends), block.High ?? Tensor.Unscoped(ends));
        for (int i = 0; i < ends.Length; i++)
        {
            float zero = rounding.Zero is { } z ? z.Span[i] : 0, scale = rounding.Scale.Span[i];
            block.Low.Span[i] = (rounding.Format.Low - zero) * scale;
            block.High.Span[i] = (rounding.Format.High - zero) * scale;
        }
    }

    private void FitBooks(long step)
    {
        for (int i = 0; i < blocks.Length; i++)
        {
            Tensor weight = blocks[i].Value.Tensor;
            var rng = new Rng((ulong)step, Stream, (ulong)i);
            Tensor book = blocks[i].Book ??= Tensor.Unscoped(BookOf(blocks[i]));
            CodeBook.Fit(weight, blocks[i].Width, book.Shape[0], Books.Rounds, ref rng).Entries.CopyTo(book.Span);
        }
    }

    private Shape BookOf(Block block) =>
        new(CodeBook.EntriesFor(block.Value.Shape.Length / block.Width, Books.Entries), block.Width);

    /// <summary>A weight with the values of a block, and what training does to it: a mask, a factor, or what is added.</summary>
    internal sealed record Block(GraphValue Value, int Width, Tensor Noise)
    {
        /// <summary>[K, width]: the entries that were fitted to the weight last.</summary>
        public Tensor? Book { get; set; }

        /// <summary>The least number that a code stands for; likewise the largest.</summary>
        public Tensor? Low { get; set; }

        public Tensor? High { get; set; }
    }
}
