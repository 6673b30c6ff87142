using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Attention;

/// <summary>What an <see cref="AttentionCase"/> adds to the scores and hides.</summary>
[Flags]
public enum Added
{
    None = 0,
    Causal = 1,

    /// <summary>Every third key hidden, and all of the last image.</summary>
    KeyMask = 2,
    OfKeys = 4,
    OfPairs = 8,

    /// <summary>Tokens were dropped before: every fourth is missing.</summary>
    Dropped = 16,
}

/// <summary>One packed ragged batch: q, k and v as column blocks of one matrix with a gap of NaN after each row (q of one of its
/// own, where queries have rows of their own), results in matrices with gaps of their own, and the reference's answers beside
/// them.</summary>
internal sealed unsafe class AttentionCase : IDisposable
{
    private const int Gap = 3;
    private readonly int[] queries, keys, tokens, queryTokens, keyTokens;
    private readonly HeadLayout heads;
    private readonly Added added;
    private readonly int most, ldq, ldk, ldo;
    private readonly float scale = 0.3f;
    private readonly GuardedFloats ownQ, qkv, dOwnQ, dQkv, output, softmax, dOut, keyMask, ofKeys, ofPairs, dOfKeys, dOfPairs;

    public AttentionCase(
        int[] keysOfEach, HeadLayout heads, int[]? queriesOfEach = null, float range = 2f, Added added = Added.None)
    {
        (this.heads, this.added) = (heads, added);
        keys = Starts(keysOfEach);
        queries = queriesOfEach is null ? keys : Starts(queriesOfEach);
        most = 1 + 2 * Math.Max(keysOfEach.Max(), queriesOfEach?.Max() ?? 0);
        tokens = [.. Enumerable.Range(0, most).Where(t => (added & Added.Dropped) == 0 || t % 4 != 1)];
        (queryTokens, keyTokens) = (TokensOf(queries), TokensOf(keys));
        (int q, int v) = (heads.QueryWidth, heads.ValueWidth);
        (ldk, ldo) = (2 * q + v + Gap, v + Gap);
        ldq = queries == keys ? ldk : q + Gap;
        qkv = Filled(keys[^1], ldk, 1, range);
        ownQ = Filled(queries == keys ? 0 : queries[^1], ldq, 3, range);
        dOut = Filled(queries[^1], ldo, 2, 1f);
        dQkv = new GuardedFloats(qkv.Length);
        dOwnQ = new GuardedFloats(ownQ.Length);
        output = new GuardedFloats(queries[^1] * ldo);
        softmax = new GuardedFloats(queries[^1] * heads.Count * 2);
        keyMask = GuardedFloats.Random(keys[^1], 4);
        for (int i = 0; i < keyMask.Length; i++) if (i % 3 == 1 || i >= keys[^2]) keyMask[i] = 0;
        ofKeys = GuardedFloats.Random(keys[^1], 5, 3f);
        ofPairs = GuardedFloats.Random(heads.Count * most * most, 6, 3f);
        dOfKeys = new GuardedFloats(heads.Count * keys[^1]);
        dOfPairs = new GuardedFloats(ofPairs.Length);
    }

    private float* Q => queries == keys ? qkv.Pointer : ownQ.Pointer;

    private int Images => keys.Length - 1;

    /// <summary>Runs both kernels and gives every float they wrote.</summary>
    public float[] Run()
    {
        Execute();
        return [.. output.Span, .. softmax.Span, .. dQkv.Span, .. dOwnQ.Span, .. dOfKeys.Span, .. dOfPairs.Span];
    }

    /// <summary>Runs both kernels and gives the results of the forward one.</summary>
    public float[] Outputs()
    {
        Execute();
        return output.Span.ToArray();
    }

    /// <summary>Runs both kernels.</summary>
    public void Execute()
    {
        foreach (GuardedFloats x in (ReadOnlySpan<GuardedFloats>)[dQkv, dOwnQ, output, softmax]) x.Span.Fill(float.NaN);
        dOfKeys.Span.Clear();
        dOfPairs.Span.Clear();
        int columns = heads.QueryWidth;
        float* k = qkv.Pointer + columns, dk = dQkv.Pointer + columns;
        fixed (int* queryRows = queries, keyRows = keys, ofQueries = queryTokens, ofKeyRows = keyTokens)
        {
            AttentionHeads h = heads.Over(queryRows, keyRows, Images, scale);
            var bias = new AttentionBias
            {
                Causal = Has(Added.Causal), KeyMask = Has(Added.KeyMask) ? keyMask.Pointer : null,
                OfKeys = Has(Added.OfKeys) ? ofKeys.Pointer : null, KeyStride = 1, OfPairs = Has(Added.OfPairs) ? ofPairs.Pointer : null,
                Tokens = most, QueryTokens = ofQueries, KeyTokens = ofKeyRows,
                DOfKeys = Has(Added.OfKeys) ? dOfKeys.Pointer : null, DOfPairs = Has(Added.OfPairs) ? dOfPairs.Pointer : null,
            };
            Tensors.Kernels.Attention.Forward(
                h, bias, Q, ldq, k, ldk, k + columns, ldk, output.Pointer, ldo, softmax.Pointer);
            var x = new BackwardOperands
            {
                Q = Q, K = k, V = k + columns, Out = output.Pointer, Softmax = softmax.Pointer, DOut = dOut.Pointer,
                DQ = queries == keys ? dQkv.Pointer : dOwnQ.Pointer, DK = dk, DV = dk + columns,
                LdQ = ldq, LdK = ldk, LdV = ldk, LdOut = ldo, LdDOut = ldo, LdDQ = ldq, LdDK = ldk, LdDV = ldk,
            };
            Tensors.Kernels.Attention.Backward(h, bias, x);
        }
    }

    /// <summary>The results of the kernel of bytes.</summary>
    /// <param name="numbers">Whether all of them are to be numbers.</param>
    public float[] Int8(DotTile tile, bool numbers = true)
    {
        output.Span.Fill(float.NaN);
        float* k = qkv.Pointer + heads.QueryWidth;
        fixed (int* queryRows = queries, keyRows = keys)
            AttentionInt8.Forward(tile, heads.Over(queryRows, keyRows, Images, scale), Q, ldq, k, ldk, k + heads.QueryWidth, ldk,
                output.Pointer, ldo);
        if (numbers) CheckGaps(output, ldo, 0);
        return output.Span.ToArray();
    }

    /// <summary>A number of a key, of its value, or of the query of the same row.</summary>
    /// <param name="part">0 for the query, 1 for the key, 2 for the value.</param>
    public ref float At(int row, int part) => ref qkv.Span[row * ldk + part * heads.QueryWidth];

    /// <summary>Compares what <see cref="Execute"/> wrote with the reference, and that nothing was written into the gaps.</summary>
    public void Check(double tolerance)
    {
        var pairs = new double[ofPairs.Length];
        for (int n = 0; n < heads.Count; n++)
            for (int image = 0; image < Images; image++)
                if (keys[image + 1] > keys[image]) CheckHead(image, n, pairs, tolerance);
                else Assert.All(Part(output, ldo, queries, image, heads.ValueColumns, n, 0), y => Assert.Equal(0, y));
        if (Has(Added.OfPairs)) Near.Equal(pairs, dOfPairs.Span, Images * tolerance);
        CheckGaps(dQkv, ldk, queries == keys ? 0 : heads.QueryWidth);
        CheckGaps(dOwnQ, ldq, 0);
        CheckGaps(output, ldo, 0);
    }

    public void Dispose()
    {
        foreach (GuardedFloats x in (ReadOnlySpan<GuardedFloats>)
            [ownQ, qkv, dOwnQ, dQkv, output, softmax, dOut, keyMask, ofKeys, ofPairs, dOfKeys, dOfPairs]) x.Dispose();
    }

    private void CheckHead(int image, int n, double[] pairs, double tolerance)
    {
        int columns = heads.QueryWidth, tq = queries[image + 1] - queries[image], tk = keys[image + 1] - keys[image];
        double Bias(int i, int j)
        {
            int key = keys[image] + j;
            if ((Has(Added.Causal) && j > i && tokens[j] > tokens[i]) || (Has(Added.KeyMask) && keyMask[key] == 0))
                return double.NegativeInfinity;
            return Has(Added.OfPairs) ? ofPairs[Pair(i, j)] : Has(Added.OfKeys) ? ofKeys[key] : 0;
        }

        int Pair(int i, int j) => (n * most + tokens[i]) * most + tokens[j];
        float[] Actual(GuardedFloats x, int ld, int[] rows, ReadOnlySpan<int> starts, int column) =>
            Array.ConvertAll(Part(x, ld, rows, image, starts, n, column), y => (float)y);

        var expected = new AttentionReference(
            Part(queries == keys ? qkv : ownQ, ldq, queries, image, heads.QueryColumns, n, 0),
            Part(qkv, ldk, keys, image, heads.QueryColumns, n, columns),
            Part(qkv, ldk, keys, image, heads.ValueColumns, n, 2 * columns), tq, tk, scale, Bias);
        (double[] dq, double[] dk, double[] dv, double[] dBias) =
            expected.Backward(Part(dOut, ldo, queries, image, heads.ValueColumns, n, 0));
        Near.Equal(expected.Out, Actual(output, ldo, queries, heads.ValueColumns, 0), tolerance);
        Near.Equal(dq, Actual(queries == keys ? dQkv : dOwnQ, ldq, queries, heads.QueryColumns, 0), tolerance);
        Near.Equal(dk, Actual(dQkv, ldk, keys, heads.QueryColumns, columns), tolerance);
        Near.Equal(dv, Actual(dQkv, ldk, keys, heads.ValueColumns, 2 * columns), tolerance);
        for (int i = 0; i < tq; i++)
            for (int j = 0; j < tk; j++) pairs[Pair(i, j)] += dBias[i * tk + j];
        for (int j = 0; Has(Added.OfKeys) && j < tk; j++)
        {
            double sum = Enumerable.Range(0, tq).Sum(i => dBias[i * tk + j]);
            Assert.Equal(sum, dOfKeys[n * keys[^1] + keys[image] + j], tolerance * (1 + Math.Abs(sum)));
        }

        // Where queries are few, nothing is saved.
        for (int i = 0; i < tq && queries == keys; i++)
        {
            if (double.IsNegativeInfinity(expected.LogSumExp[i])) continue;
            int saved = 2 * ((queries[image] + i) * heads.Count + n);
            double logSumExp = softmax[saved] * Math.Log(2) + Math.Log(softmax[saved + 1]);
            Assert.Equal(expected.LogSumExp[i], logSumExp, tolerance * (1 + Math.Abs(logSumExp)));
        }
    }

    private bool Has(Added what) => (added & what) != 0;

    // One head's columns of an image's rows.
    private static double[] Part(GuardedFloats x, int ld, int[] rows, int image, ReadOnlySpan<int> starts, int n, int column)
    {
        int d = starts[n + 1] - starts[n];
        var y = new double[(rows[image + 1] - rows[image]) * d];
        for (int i = 0; i < y.Length; i++) y[i] = x[(rows[image] + i / d) * ld + column + starts[n] + i % d];
        return y;
    }

    private int[] TokensOf(int[] rows)
    {
        var all = new int[rows[^1]];
        for (int b = 0; b < Images; b++)
            for (int row = rows[b]; row < rows[b + 1]; row++) all[row] = tokens[row - rows[b]];
        return all;
    }

    private static int[] Starts(int[] lengths) => [0, .. lengths.Select((_, b) => lengths.Take(b + 1).Sum())];

    private static GuardedFloats Filled(int rows, int ld, ulong seed, float range)
    {
        GuardedFloats x = GuardedFloats.Random(rows * ld, seed, range);
        for (int r = 0; r < rows; r++) x.Span.Slice(r * ld + ld - Gap, Gap).Fill(float.NaN);
        return x;
    }

    private static void CheckGaps(GuardedFloats x, int ld, int unwritten)
    {
        for (int i = 0; i < x.Length; i++)
            Assert.True(
                float.IsNaN(x[i]) == (i % ld >= ld - Gap || i % ld < unwritten),
                $"the gap after a row was written at {i}, or what is before it was not");
    }
}
