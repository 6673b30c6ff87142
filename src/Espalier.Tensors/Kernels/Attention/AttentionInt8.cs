using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// Attention whose two products are of bytes, for one head of one image and 32 queries at a time. Queries and keys have a scale
/// a row, values one a column, probabilities 127 steps up to the largest of their query; what they are divided by is the sum of
/// their codes, so that they add up to 1. Between the products the scores are floats. Scores are transposed, [keys, queries], as
/// in <see cref="AttentionForward{S, V}"/>, and four rows of them are what a panel of the second product holds.
/// </summary>
internal unsafe struct AttentionInt8 : IRangeJob
{
    /// <summary>Fewest rows and columns of a head for which this was measured to be faster than floats.</summary>
    private const int LeastQueries = 32, LeastKeys = 128, LeastColumns = 64;

    /// <summary>Columns of a panel, and of a tile of values.</summary>
    private const int Block = 32, ValueRows = 8;

    private const int Lanes = 16, Group = Int8Rows.GroupSize, KeyMultiple = DotTile.GroupMultiple * Group;
    private const float Log2E = 1.44269504f, Most = 127f;

    private DotTile tile;
    private AttentionHeads heads;
    private float* q, k, v, output;
    private nint ldq, ldk, ldv, ldo;
    private int cuts;

    /// <summary>The best tile of 32 columns; they all give the same.</summary>
    public static DotTile Tile => IsQuick ? DotKernels.Int8.Tile! : new Int8TilePortable(maxRows: 12, Block);

    /// <summary>Whether this processor has a quick tile.</summary>
    public static bool IsQuick => Hardware.Has512 && DotKernels.Int8.Tile is { Columns: Block };

    /// <summary>Whether heads of such widths and images of so many rows are done faster so where there is a quick tile.</summary>
    public static bool Pays(HeadLayout layout, int queries, int keys) => queries >= LeastQueries && keys >= LeastKeys
        && layout.QueryWidth >= LeastColumns * layout.Count && layout.ValueWidth >= LeastColumns * layout.Count;

    /// <summary>As <see cref="Attention.Forward"/>, without a bias.</summary>
    /// <param name="tile">Of 32 columns.</param>
    public static void Forward(DotTile tile, in AttentionHeads heads, float* q, nint ldq, float* k, nint ldk, float* v, nint ldv,
        float* output, nint ldo)
    {
        int grain = heads.Grain;
        var job = new AttentionInt8
        {
            tile = tile, heads = heads, q = q, ldq = ldq, k = k, ldk = ldk, v = v, ldv = ldv, output = output, ldo = ldo,
            cuts = grain > 1 || heads.Pairs == 0 ? 1 : (Workers.Available + heads.Pairs - 1) / heads.Pairs,
        };
        Workers.For(heads.Pairs * job.cuts, grain, job);
    }

    public readonly void Run(int start, int end, int worker)
    {
        for (int item = start; item < end; item++)
        {
            int pair = item / cuts, cut = item % cuts, image = pair / heads.Count;
            int queries = heads.Queries[image + 1] - heads.Queries[image];
            int run = AttentionPack.RoundUp((queries + cuts - 1) / cuts, Block);
            int from = Math.Min(queries, cut * run), to = Math.Min(queries, from + run);
            if (from < to) Head(image, pair % heads.Count, from, to);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private readonly void Head(int image, int head, int from, int to)
    {
        nint query0 = heads.Queries[image], key0 = heads.Keys[image];
        int tokens = heads.Keys[image + 1] - (int)key0, d = heads.QueryWidth(head), dv = heads.ValueWidth(head);
        nint column = heads.QueryColumns[head], valueColumn = heads.ValueColumns[head];
        if (tokens == 0)
        {
            for (nint row = query0 + from; row < query0 + to; row++)
                new Span<float>(output + row * ldo + valueColumn, dv).Clear();
            return;
        }

        // In floats, each part a multiple of 64 bytes.
        int dPad = AttentionPack.RoundUp(d, KeyMultiple), keyPad = AttentionPack.RoundUp(tokens, KeyMultiple);
        int dvPad = AttentionPack.RoundUp(dv, Lanes), rowPad = keyPad + Lanes;
        nint keyFloats = (nint)rowPad * dPad / 4 + Lanes, queryFloats = Block * dPad / 4 + Lanes;
        nint valueFloats = (nint)dvPad * keyPad / 4;
        nint scoreFloats = (nint)rowPad * Block, wideFloats = (nint)Math.Max(dvPad, tile.MaxRows) * Block;
        float* at = Scratch.Rent(keyFloats + valueFloats + queryFloats + scoreFloats + (nint)keyPad * Block / 4 + 2 * wideFloats
            + rowPad + dvPad + 4 * Block);
        byte* keyPanels = (byte*)at, valuePanels = (byte*)(at += keyFloats), queryPanel = (byte*)(at += valueFloats);
        int* scores = (int*)(at += queryFloats);
        byte* shares = (byte*)(at += scoreFloats);
        float* wide = at += (nint)keyPad * Block / 4, turned = at += wideFloats;
        float* keyScales = at += wideFloats, valueScales = at += rowPad, queryScales = at += dvPad, factors = at += Block;
        int* start = (int*)(at += Block), valueStart = (int*)(at + Block);

        for (int j = 0, height; j < tokens; j += height)
        {
            height = tile.Height(tokens - j);
            int lines = Math.Min(height, tokens - j);
            Int8Rows.Pack(k + (key0 + j) * ldk + column, ldk, lines, height, d, keyPanels + (nint)j * dPad, keyScales + j);
        }
        Values(v + key0 * ldv + valueColumn, tokens, dv, keyPad, valuePanels, valueScales, wide);
        for (int i = from; i < to; i += Block)
        {
            int rows = Math.Min(Block, to - i);
            nint row = query0 + i;
            Queries(q + row * ldq + column, rows, d, dPad, queryPanel, queryScales, start);
            for (int j = 0, height; j < tokens; j += height)
            {
                height = tile.Height(tokens - j);
                tile.Run(height, dPad / Group, keyPanels + (nint)j * dPad, queryPanel, start, scores + (nint)j * Block);
            }
            for (int half = 0; half < Block; half += Lanes)
                Softmax(scores + half, tokens, keyPad, keyScales, queryScales + half, heads.Scale * Log2E, (int*)shares + half,
                    valueStart + half, factors + half);
            Mixed(keyPad, dvPad, valuePanels, valueScales, shares, valueStart, factors, wide);
            // [dv, 32] to rows.
            AttentionPack.Transposed(wide, Block, dvPad, Block, turned, Lanes, 1f);
            for (int r = 0; r < rows; r++)
                for (int c = 0; c < dv; c += Lanes)
                    new ReadOnlySpan<float>(turned + ((nint)(c / Lanes) * Block + r) * Lanes, Math.Min(Lanes, dv - c)).CopyTo(
                        new Span<float>(output + (row + r) * ldo + valueColumn + c, Lanes));
        }
    }

    /// <summary>The panel of signed codes of some queries, [groups, 32, 4]; the rest repeats the last.</summary>
    /// <param name="start">What sums begin with: keys are stored with 128 added.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private readonly void Queries(float* x, int rows, int d, int dPad, byte* panel, float* scales, int* start)
    {
        Int8Rows.Pack(x, ldq, rows, Block, d, panel, scales);
        for (int r = rows; r < Block; r++) scales[r] = scales[rows - 1];
        Vector512<byte> flip = Vector512.Create((byte)Int8Rows.Shift);
        for (int at = 0; at < Block * dPad; at += Vector512<byte>.Count) (Vector512.Load(panel + at) ^ flip).Store(panel + at);
        for (int half = 0; half < Block; half += Lanes)
        {
            Vector512<int> sum = Vector512<int>.Zero;
            for (int group = 0; group < dPad / Group; group++)
            {
                Vector512<int> four = Vector512.Load((int*)panel + group * Block + half);
                sum += (four << 24 >> 24) + (four << 16 >> 24) + (four << 8 >> 24) + (four >> 24);
            }
            (sum * -Int8Rows.Shift).Store(start + half);
        }
    }

    /// <summary>Values [tokens, dv] as codes with 128 added, [dv / 8, groups of keys, 8, 4], with a scale a column.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private readonly void Values(float* x, int tokens, int dv, int keyPad, byte* panels, float* scales, float* four)
    {
        Vector512<int> shift = Vector512.Create(Int8Rows.Shift);
        for (int c = 0; c < dv; c += Lanes)
        {
            int width = Math.Min(Lanes, dv - c);
            Vector512<float> most = Vector512<float>.Zero;
            for (int j = 0; j < tokens; j++) most = Vector512.Max(most, Vector512.Abs(Row(x + j * ldv + c, width, four)));
            Vector512<float> scale = Vector512.Max(most, Vector512.Create(1e-30f)) / Most, inverse = Vector512<float>.One / scale;
            // A column that holds what is no number, or none that is finite, is none from end to end.
            Vector512.ConditionalSelect(Vector512.LessThan(most, Vector512.Create(float.PositiveInfinity)), scale,
                Vector512.Create(float.NaN)).Store(scales + c);
            byte* panel = panels + (nint)c * keyPad;
            for (int group = 0; group < keyPad / Group; group++)
            {
                Vector512<int> codes = Vector512<int>.Zero;
                for (int i = 0; i < Group; i++)
                {
                    int j = group * Group + i;
                    Vector512<int> code = shift;
                    if (j < tokens) code += Whole(Row(x + j * ldv + c, width, four) * inverse);
                    codes |= (code & Vector512.Create(255)) << (8 * i);
                }
                codes.GetLower().Store((int*)panel + group * ValueRows);
                codes.GetUpper().Store((int*)(panel + (nint)keyPad * ValueRows) + group * ValueRows);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Row(float* x, int width, float* rest)
    {
        if (width == Lanes) return Vector512.Load(x);
        for (int i = 0; i < Lanes; i++) rest[i] = i < width ? x[i] : 0;
        return Vector512.Load(rest);
    }

    /// <summary>The nearest whole numbers, halves to the even ones, of numbers below 2^22.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<int> Whole(Vector512<float> x) =>
        (x + Vector512.Create(CodeRange.Rounder)).AsInt32() - Vector512.Create(0x4B400000);

    /// <summary>From sums of 16 queries to codes of their probabilities, four keys side by side.</summary>
    /// <param name="scores">[keys, 32], overwritten.</param>
    /// <param name="shares">[groups of keys, 32] of four bytes.</param>
    /// <param name="start">What sums of the second product begin with: values are stored with 128 added.</param>
    /// <param name="factors">What these sums are multiplied by: the inverse of the sum of a query's codes; NaN where a number was
    /// none.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Softmax(int* scores, int keys, int keyPad, float* keyScales, float* queryScales, float scale, int* shares,
        int* start, float* factors)
    {
        Vector512<float> most = Vector512.Create(float.NegativeInfinity), unit = Vector512.Load(queryScales) * scale;
        for (int j = 0; j < keys; j++)
        {
            Vector512<float> score = Vector512.ConvertToSingle(Vector512.Load(scores + (nint)j * Block)) * keyScales[j];
            score.Store((float*)scores + (nint)j * Block);
            most = Vector512.Max(most, score);
        }

        Vector512<int> sum = Vector512<int>.Zero;
        for (int j = 0; j < keyPad; j += Group, shares += Block)
        {
            Vector512<int> codes = Vector512<int>.Zero;
            for (int i = 0; i < Group && j + i < keys; i++)
            {
                Vector512<float> score = (Vector512.Load((float*)scores + (nint)(j + i) * Block) - most) * unit;
                Vector512<int> code = Whole(Exp.PowerOfTwo<Simd512, Vector512<float>>(score) * Most);
                sum += code;
                codes |= code << (8 * i);
            }

            codes.Store(shares);
        }

        (sum * -Int8Rows.Shift).Store(start);
        // Nothing for numbers, else NaN.
        Vector512<float> none = (most - most) * unit;
        (Vector512<float>.One / Vector512.ConvertToSingle(sum) + none).Store(factors);
    }

    /// <summary>Values by probabilities: [dv, 32] as floats.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private readonly void Mixed(int keyPad, int dvPad, byte* values, float* scales, byte* shares, int* start, float* factors,
        float* result)
    {
        for (int c = 0; c < dvPad; c += ValueRows)
        {
            float* rows = result + (nint)c * Block;
            tile.Run(ValueRows, keyPad / Group, values + (nint)c * keyPad, shares, start, rows);
            for (int r = 0; r < ValueRows; r++)
                for (int half = 0; half < Block; half += Lanes)
                {
                    float* place = rows + r * Block + half;
                    Vector512<float> sum = Vector512.ConvertToSingle(Vector512.Load((int*)place));
                    (sum * scales[c + r] * Vector512.Load(factors + half)).Store(place);
                }
        }
    }
}
