using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Attention;

/// <summary>One packed ragged batch: q, k and v as column blocks of one matrix with a gap of NaN after each row, results in
/// matrices with gaps of their own, and the reference's answers beside them.</summary>
internal sealed unsafe class AttentionCase : IDisposable
{
    private const int Gap = 3;
    private readonly int[] offsets;
    private readonly int heads, d, ld, ldo;
    private readonly float scale;
    private readonly GuardedFloats qkv, dQkv, output, queries, few, dFew, dQueries, dKeys, softmax, dOut;

    public AttentionCase(int[] tokens, int heads, int d, float range = 2f)
    {
        (this.heads, this.d, scale) = (heads, d, 1f / MathF.Sqrt(d));
        offsets = new int[tokens.Length + 1];
        for (int b = 0; b < tokens.Length; b++) offsets[b + 1] = offsets[b] + tokens[b];
        int rows = offsets[^1];
        (ld, ldo) = (3 * heads * d + Gap, heads * d + Gap);
        qkv = GuardedFloats.Random(rows * ld, 1, range);
        dOut = GuardedFloats.Random(rows * ldo, 2);
        for (int r = 0; r < rows; r++)
        {
            qkv.Span.Slice(r * ld + ld - Gap, Gap).Fill(float.NaN);
            dOut.Span.Slice(r * ldo + ldo - Gap, Gap).Fill(float.NaN);
        }

        dQkv = new GuardedFloats(rows * ld);
        output = new GuardedFloats(rows * ldo);
        softmax = new GuardedFloats(rows * heads * 2);
        few = new GuardedFloats(2 * tokens.Length * ldo);
        queries = new GuardedFloats(2 * tokens.Length * ldo);
        dFew = new GuardedFloats(2 * tokens.Length * ldo);
        dQueries = new GuardedFloats(2 * tokens.Length * ldo);
        dKeys = new GuardedFloats(rows * ld);
        for (int b = 0; b < tokens.Length; b++)
        {
            if (tokens[b] == 0) continue;
            qkv.Span.Slice(offsets[b] * ld, D).CopyTo(queries.Span[(2 * b * ldo)..]);
            qkv.Span.Slice((offsets[b + 1] - 1) * ld, D).CopyTo(queries.Span[((2 * b + 1) * ldo)..]);
            dOut.Span.Slice(offsets[b] * ldo, D).CopyTo(dFew.Span[(2 * b * ldo)..]);
            dOut.Span.Slice((offsets[b + 1] - 1) * ldo, D).CopyTo(dFew.Span[((2 * b + 1) * ldo)..]);
        }
    }

    private int D => heads * d;

    /// <summary>Runs all four kernels and gives every float they wrote.</summary>
    public float[] Run()
    {
        Execute();
        return [.. output.Span, .. softmax.Span, .. dQkv.Span, .. few.Span, .. dQueries.Span, .. dKeys.Span];
    }

    /// <summary>Runs all four kernels.</summary>
    public void Execute()
    {
        dQkv.Span.Fill(float.NaN);
        output.Span.Fill(float.NaN);
        few.Span.Fill(float.NaN);
        dQueries.Span.Fill(float.NaN);
        dKeys.Span.Fill(float.NaN);
        softmax.Span.Fill(float.NaN);
        float* q = qkv.Pointer, dq = dQkv.Pointer;
        fixed (int* o = offsets)
        {
            var h = new AttentionHeads(o, offsets.Length - 1, heads, d, scale);
            Tensors.Kernels.Attention.Forward(
                h, q, ld, q + D, ld, q + 2 * D, ld, output.Pointer, ldo, softmax.Pointer);
            Tensors.Kernels.Attention.Backward(
                h, q, ld, q + D, ld, q + 2 * D, ld, output.Pointer, ldo, softmax.Pointer, dOut.Pointer, ldo,
                dq, ld, dq + D, ld, dq + 2 * D, ld);
            Tensors.Kernels.Attention.ForwardPrefix(
                h, 2, queries.Pointer, ldo, q + D, ld, q + 2 * D, ld, few.Pointer, ldo);
            Tensors.Kernels.Attention.BackwardPrefix(
                h, 2, queries.Pointer, ldo, q + D, ld, q + 2 * D, ld, dFew.Pointer, ldo,
                dQueries.Pointer, ldo, dKeys.Pointer + D, ld, dKeys.Pointer + 2 * D, ld);
        }
    }

    /// <summary>Compares what <see cref="Execute"/> wrote with the reference, and that nothing was written into the gaps.</summary>
    public void Check(double tolerance)
    {
        for (int image = 0; image < offsets.Length - 1; image++)
        {
            int row0 = offsets[image], t = offsets[image + 1] - row0;
            if (t == 0) continue;
            for (int n = 0; n < heads; n++) CheckHead(image, n, row0, t, tolerance);
        }

        CheckGaps(dQkv, ld);
        CheckGaps(output, ldo);
        CheckGaps(few, ldo);
        CheckGaps(dQueries, ldo);
        CheckGaps(dKeys, ld);
    }

    public void Dispose()
    {
        foreach (GuardedFloats x in new[] { qkv, dQkv, output, queries, few, dFew, dQueries, dKeys, softmax, dOut })
            x.Dispose();
    }

    private void CheckHead(int image, int n, int row0, int t, double tolerance)
    {
        double[] Part(GuardedFloats x, int stride, int column)
        {
            var y = new double[t * d];
            for (int i = 0; i < y.Length; i++) y[i] = x[(row0 + i / d) * stride + column + n * d + i % d];
            return y;
        }

        float[] Actual(GuardedFloats x, int stride, int column) => Array.ConvertAll(Part(x, stride, column), v => (float)v);

        double[] q = Part(qkv, ld, 0), k = Part(qkv, ld, D), v = Part(qkv, ld, 2 * D), g = Part(dOut, ldo, 0);
        var expected = new AttentionReference(q, k, v, t, d, scale);
        (double[] dq, double[] dk, double[] dv) = expected.Backward(q, k, v, g, t, d, scale);
        Near.Equal(expected.Out, Actual(output, ldo, 0), tolerance);
        for (int i = 0; i < t; i++)
        {
            int saved = 2 * ((row0 + i) * heads + n);
            double logSumExp = softmax[saved] * Math.Log(2) + Math.Log(softmax[saved + 1]);
            Assert.Equal(expected.LogSumExp[i], logSumExp, tolerance * (1 + Math.Abs(logSumExp)));
        }

        Near.Equal(dq, Actual(dQkv, ld, 0), tolerance);
        Near.Equal(dk, Actual(dQkv, ld, D), tolerance);
        Near.Equal(dv, Actual(dQkv, ld, 2 * D), tolerance);
        Near.Equal(expected.Out.AsSpan(0, d), few.Span.Slice(2 * image * ldo + n * d, d), tolerance);
        Near.Equal(expected.Out.AsSpan((t - 1) * d, d), few.Span.Slice((2 * image + 1) * ldo + n * d, d), tolerance);

        // The gradients of the first and the last row's results alone; one and the same row counts twice.
        int last = t - 1;
        var ends = new double[t * d];
        for (int c = 0; c < d; c++) (ends[c], ends[last * d + c]) = (g[c], g[last * d + c]);
        (double[] dqEnds, double[] dkEnds, double[] dvEnds) = expected.Backward(q, k, v, ends, t, d, scale);
        double times = last == 0 ? 2 : 1;
        Near.Equal(dqEnds.AsSpan(0, d), dQueries.Span.Slice(2 * image * ldo + n * d, d), tolerance);
        Near.Equal(dqEnds.AsSpan(last * d, d), dQueries.Span.Slice((2 * image + 1) * ldo + n * d, d), tolerance);
        Near.Equal(Array.ConvertAll(dkEnds, x => times * x), Actual(dKeys, ld, D), tolerance);
        Near.Equal(Array.ConvertAll(dvEnds, x => times * x), Actual(dKeys, ld, 2 * D), tolerance);
    }

    private static void CheckGaps(GuardedFloats x, int stride)
    {
        for (int i = stride - Gap; i < x.Length; i += i % stride == stride - 1 ? stride - Gap + 1 : 1)
        {
            Assert.True(float.IsNaN(x[i]), $"the gap after a row was written at {i}");
        }
    }
}
