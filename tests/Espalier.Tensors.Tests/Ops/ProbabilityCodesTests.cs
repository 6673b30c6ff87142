namespace Espalier.Tensors.Tests.Ops;

/// <summary>Attention whose probabilities are of few bits.</summary>
public class ProbabilityCodesTests
{
    private const ProbabilityCoding Uniform = ProbabilityCoding.Uniform, Twin = ProbabilityCoding.Twin,
        Log2 = ProbabilityCoding.Log2, LogSqrt2 = ProbabilityCoding.LogSqrt2;

    public static TheoryData<ProbabilityCoding, int, int> Codes => new()
    {
        { Uniform, 8, 0 }, { Uniform, 4, 0 }, { Twin, 8, 4 }, { Twin, 4, 2 }, { Log2, 8, 0 }, { Log2, 4, 0 }, { LogSqrt2, 8, 0 },
        { LogSqrt2, 4, 0 },
    };

    /// <summary>Numbers worked out by hand.</summary>
    [Theory]
    [InlineData(Twin, 8, 4, 0.03f, 0.0300197f)]
    [InlineData(Uniform, 8, 0, 0.03f, 0.0313725f)]
    [InlineData(Log2, 4, 0, 0.3f, 0.25f)]
    [InlineData(LogSqrt2, 4, 0, 0.3f, 0.3535534f)]
    [InlineData(Twin, 8, 4, 0.0625f, 0.0625f)]
    [InlineData(Twin, 8, 4, 0.07f, 9 / 127f)]
    [InlineData(Log2, 4, 0, 6e-5f, 6.1035156e-5f)]
    [InlineData(Log2, 4, 0, 3.1e-5f, 0)]
    [InlineData(LogSqrt2, 4, 0, 0.0079f, 0.0078125f)]
    [InlineData(LogSqrt2, 4, 0, 0.0055f, 0)]
    [InlineData(Log2, 8, 0, 1e-20f, 1.3552527e-20f)]
    public void ACodeStandsFor(ProbabilityCoding coding, int bits, int split, float p, float rounded) =>
        Assert.Equal(rounded, new ProbabilityCodes(coding, bits, split).Rounded(p), 1e-5f * rounded);

    [Theory]
    [MemberData(nameof(Codes))]
    public void EndsStayAndWhatIsRoundedStays(ProbabilityCoding coding, int bits, int split)
    {
        var codes = new ProbabilityCodes(coding, bits, split);
        Assert.Equal(0, codes.Rounded(0));
        Assert.Equal(1, codes.Rounded(1), 1e-6f);
        float before = 0;
        HashSet<float> values = [];
        for (int i = 0; i <= 4000; i++)
        {
            float y = codes.Rounded(i / 4000f);
            Assert.Equal(y, codes.Rounded(y), 1e-6f);
            Assert.True(y >= before, $"{i / 4000f} gives {y}, less than {before}");
            values.Add(before = y);
        }
        Assert.InRange(values.Count, 3, 1 << bits);
    }

    /// <summary>Of rows of a softmax two ranges leave a fraction of the squared error of one.</summary>
    [Fact]
    public void TwoRangesAreBetterForASoftmax()
    {
        var rng = new Rng(1);
        double uniform = 0, twin = 0;
        ProbabilityCodes one = new(Uniform, 8), two = new(Twin, 8, 4);
        for (int row = 0; row < 50; row++)
        {
            float[] p = [.. Enumerable.Range(0, 197).Select(_ => 3 * rng.NextNormal())];
            System.Numerics.Tensors.TensorPrimitives.SoftMax(p, p);
            uniform += p.Sum(v => Math.Pow(one.Rounded(v) - v, 2));
            twin += p.Sum(v => Math.Pow(two.Rounded(v) - v, 2));
        }
        Assert.True(twin < 0.4 * uniform, $"{twin} is not far below {uniform}");
    }

    [Theory]
    [MemberData(nameof(Codes))]
    public void AttentionMeetsTheValuesWithThem(ProbabilityCoding coding, int bits, int split)
    {
        using var scope = new Scope();
        var codes = new ProbabilityCodes(coding, bits, split);
        HeadLayout heads = HeadLayout.Uniform(2, 5, 3);
        RowSet keys = RowSet.FromLengths([7, 1, 0, 18]), queries = RowSet.FromLengths([2, 1, 1, 18]);
        Tensor q = GradientCheck.Random(1, queries.Rows, 10), k = GradientCheck.Random(2, keys.Rows, 10);
        Tensor v = GradientCheck.Random(3, keys.Rows, 6);
        (q.Rows, k.Rows, v.Rows) = (queries, keys, keys);
        float[] y = F.Attention(q, k, v, heads, 2, probabilities: codes).ToArray();
        for (int image = 0; image < keys.Images; image++)
            for (int i = queries.Starts[image]; i < queries.Starts[image + 1]; i++)
                for (int h = 0; h < 2; h++)
                {
                    float[] p = [.. Enumerable.Range(keys.Starts[image], keys.Length(image)).Select(j =>
                        2 * Enumerable.Range(5 * h, 5).Sum(c => q.Span[i * 10 + c] * k.Span[j * 10 + c]))];
                    if (p.Length > 0) System.Numerics.Tensors.TensorPrimitives.SoftMax(p, p);
                    for (int c = 3 * h; c < 3 * h + 3; c++)
                    {
                        float sum = p.Select((x, j) => codes.Rounded(x) * v.Span[(keys.Starts[image] + j) * 6 + c]).Sum();
                        Assert.Equal(sum, y[i * 6 + c], 1e-4f);
                    }
                }
    }

    [Fact]
    public void GradientsAreThoseWithoutRounding()
    {
        var gradients = new float[3][][];
        for (int run = 0; run < 3; run++)
        {
            using var scope = new Scope();
            using var recording = new Recording();
            Tensor[] x = [.. Enumerable.Range(1, 3).Select(i => GradientCheck.Random((ulong)i, 2, 6, 4))];
            foreach (Tensor t in x) t.RequiresGrad = true;
            Tensor y = F.Attention(x[0], x[1], x[2], HeadLayout.Uniform(2, 2), 1,
                probabilities: run == 1 ? new ProbabilityCodes(Uniform, 2) : null, bytes: run == 2);
            recording.Backward(F.Sum(F.Mul(y, GradientCheck.Random(4, 2, 6, 4))));
            gradients[run] = Array.ConvertAll(x, t => t.Grad!.ToArray());
        }
        Assert.Equal(gradients[0], gradients[1]);
        Assert.Equal(gradients[0], gradients[2]);
    }

    [Fact]
    public void WhatIsNoCodeIsRefused()
    {
        Assert.Throws<ArgumentException>(() => new ProbabilityCodes(Uniform, 9));
        Assert.Throws<ArgumentException>(() => new ProbabilityCodes(Uniform, 8, 1));
        Assert.Throws<ArgumentException>(() => new ProbabilityCodes(Twin, 8, 16));
    }
}
