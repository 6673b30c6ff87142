using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Kernels.Attention;

[Collection("Workers")]
public sealed unsafe class AttentionTests : IDisposable
{
    private readonly int before = Workers.Threads;

    public void Dispose() => Workers.Threads = before;

    [Theory]
    [InlineData(1, 1, 8)]
    [InlineData(7, 3, 16)]
    [InlineData(17, 2, 24)]
    [InlineData(50, 4, 16)]
    [InlineData(63, 1, 32)]
    [InlineData(65, 2, 13)]
    [InlineData(64, 1, 128)]
    [InlineData(197, 2, 64)]
    public void AgreesWithTheFormula(int tokens, int heads, int d)
    {
        using var c = new AttentionCase([tokens, tokens], HeadLayout.Uniform(heads, d));
        c.Execute();
        c.Check(2e-5);
    }

    [Theory]
    [InlineData(16)]
    [InlineData(64)]
    [InlineData(9)]
    public void RaggedImagesDoNotSeeEachOther(int d)
    {
        using var c = new AttentionCase([1, 50, 17, 0, 1, 33, 7, 15, 16, 31, 2, 65], HeadLayout.Uniform(3, d));
        c.Execute();
        c.Check(2e-5);
    }

    [Fact]
    public void EveryNumberOfTokensAroundTheTilesIsRight()
    {
        for (int tokens = 1; tokens <= 34; tokens++)
        {
            using var c = new AttentionCase([tokens], HeadLayout.Uniform(1, 4 + tokens));
            c.Execute();
            c.Check(2e-5);
        }
    }

    [Theory]
    [InlineData(new[] { 16, 16 }, new[] { 32, 32 })]
    [InlineData(new[] { 8, 24, 5 }, new[] { 16, 3, 40 })]
    [InlineData(new[] { 1 }, new[] { 7 })]
    public void HeadsMayHaveWidthsOfTheirOwn(int[] queryWidths, int[] valueWidths)
    {
        var heads = new HeadLayout(queryWidths, valueWidths);
        using var c = new AttentionCase([19, 0, 50, 1], heads);
        c.Execute();
        c.Check(2e-5);
        using var few = new AttentionCase([19, 0, 50, 1, 4], heads, [1, 2, 4, 1, 0]);
        few.Execute();
        few.Check(2e-5);
    }

    [Theory]
    [InlineData(32, new[] { 1, 1, 1, 1, 1 })]
    [InlineData(24, new[] { 2, 2, 2, 2, 2 })]
    [InlineData(9, new[] { 0, 4, 1, 3, 2 })]
    [InlineData(16, new[] { 5, 0, 1, 70, 9 })]
    [InlineData(13, new[] { 50, 4, 30, 1, 0 })]
    public void QueriesMayHaveRowsOfTheirOwn(int d, int[] queries)
    {
        using var c = new AttentionCase([50, 7, 0, 65, 1], HeadLayout.Uniform(2, d), queries);
        c.Execute();
        c.Check(2e-5);
    }

    [Fact]
    public void AnImageGetsTheSameBitsWhateverIsBesideIt()
    {
        HeadLayout heads = HeadLayout.Uniform(1, 16);
        using var alone = new AttentionCase([50], heads, [3]);
        using var beside = new AttentionCase([50, 33], heads, [3, 20]);
        Assert.Equal(alone.Outputs(), beside.Outputs()[..alone.Outputs().Length]);
    }

    [Theory]
    [InlineData(Added.Causal)]
    [InlineData(Added.KeyMask)]
    [InlineData(Added.OfKeys)]
    [InlineData(Added.OfPairs)]
    [InlineData(Added.Causal | Added.KeyMask | Added.OfPairs | Added.Dropped)]
    [InlineData(Added.Causal | Added.KeyMask | Added.OfKeys | Added.Dropped)]
    public void BiasesAndMasksAreAdded(Added added)
    {
        using var c = new AttentionCase([50, 1, 0, 67, 5], HeadLayout.Uniform(2, 16), added: added);
        c.Execute();
        c.Check(2e-5);
        using var unequal = new AttentionCase([50, 1, 0, 67, 5], new HeadLayout([8, 3], [5, 20]), [1, 2, 3, 20, 4], added: added);
        unequal.Execute();
        unequal.Check(2e-5);
    }

    [Fact]
    public void LongImagesAreWorkedThroughInBlocks()
    {
        using var c = new AttentionCase([577], HeadLayout.Uniform(1, 16));
        c.Execute();
        c.Check(2e-5);
    }

    [Fact]
    public void LargeScoresDoNotOverflow()
    {
        // Scores of some thousands: exp of any of them is infinite without the maximum taken off. They carry a rounding
        // error of their own, which the probabilities show.
        using var c = new AttentionCase([50, 3], HeadLayout.Uniform(2, 16), range: 40f);
        c.Execute();
        c.Check(5e-3);
    }

    [Theory]
    [InlineData(60f)]
    [InlineData(2000f)]
    public void LargeScoresCostTheGradientsNoDigits(float range)
    {
        // Scores of up to 3.6e3 and 4e6. Each query prefers one axis by far, and three or five keys lie on it: so probabilities
        // are thirds, fifths and zeros, whatever the rounding of scores so large.
        const int Tokens = 50, D = 16, Block = Tokens * D;
        using var x = GuardedFloats.Random(3 * Block, 8);
        using var dOut = GuardedFloats.Random(Block, 9);
        x.Span.Slice(Block, Block).Clear();
        for (int i = 0; i < Tokens; i++)
        {
            for (int c = 0; c < D; c++) x[(i * D) + c] *= range / 2;
            x[(i * D) + (i % D)] = x[Block + (i * D) + (i / 3 % D)] = range;
        }

        using var y = new GuardedFloats(Block);
        using var softmax = new GuardedFloats(Tokens * 2);
        using var gradients = new GuardedFloats(3 * Block);
        int* rows = stackalloc int[] { 0, Tokens };
        var layout = HeadLayout.Uniform(1, D);
        var operands = new BackwardOperands
        {
            Q = x.Pointer, K = x.Pointer + Block, V = x.Pointer + (2 * Block), Out = y.Pointer, Softmax = softmax.Pointer,
            DOut = dOut.Pointer, DQ = gradients.Pointer, DK = gradients.Pointer + Block, DV = gradients.Pointer + (2 * Block),
            LdQ = D, LdK = D, LdV = D, LdOut = D, LdDOut = D, LdDQ = D, LdDK = D, LdDV = D,
        };
        Tensors.Kernels.Attention.Forward(
            layout.Over(rows, rows, 1, 1f), default, operands.Q, D, operands.K, D, operands.V, D, y.Pointer, D, softmax.Pointer);
        Tensors.Kernels.Attention.Backward(layout.Over(rows, rows, 1, 1f), default, operands);
        GC.KeepAlive(layout);

        double[] Part(GuardedFloats from, int n) => [.. from.Span.Slice(n * Block, Block).ToArray().Select(f => (double)f)];
        var expected = new AttentionReference(Part(x, 0), Part(x, 1), Part(x, 2), Tokens, Tokens, 1);
        (double[] dqs, double[] dks, double[] dvs, _) = expected.Backward(Part(dOut, 0));
        Near.Equal(expected.Out, y.Span, 1e-6);
        Near.Equal(dvs, gradients.Span[(2 * Block)..], 1e-6);
        // Sums of queries and keys of the size of the range, which leave next to nothing where a probability is 1.
        Near.Equal([.. dqs.Select(g => g / range)], [.. Part(gradients, 0).Select(g => (float)(g / range))], 2e-6);
        Near.Equal([.. dks.Select(g => g / range)], [.. Part(gradients, 1).Select(g => (float)(g / range))], 2e-6);
    }

    [Fact]
    public void ThreadCountsDoNotChangeABit()
    {
        // The long image is one pair for many threads, so its query rows are cut.
        (int[], Added)[] cases =
        [
            ([50, 1, 17, 33, 50, 7], Added.None), ([400], Added.None), ([20, 9, 90], Added.OfKeys), ([20, 9, 90], Added.OfPairs),
        ];
        foreach ((int[] tokens, Added added) in cases)
        {
            using var c = new AttentionCase(tokens, HeadLayout.Uniform(2, 32), added: added);
            Workers.Threads = 1;
            float[] expected = c.Run();
            foreach (int threads in new[] { 1, 2, 8 })
            {
                Workers.Threads = threads;
                Assert.Equal(expected, c.Run());
            }
        }
    }

    [Fact]
    public void NothingIsAllocatedOnceWarm()
    {
        Workers.Threads = 1;
        using var c = new AttentionCase([50, 17], HeadLayout.Uniform(2, 16));
        c.Execute();
        long start = GC.GetAllocatedBytesForCurrentThread();
        c.Execute();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - start);
    }

    [Fact]
    public void ReferenceGradientsAgreeWithDifferences()
    {
        const int Tokens = 5, D = 3;
        const double Scale = 0.7, Step = 1e-5;
        var rng = new Rng(3);
        double[][] x = new double[5][];
        for (int i = 0; i < 5; i++)
            x[i] = [.. Enumerable.Range(0, Tokens * (i == 4 ? Tokens : D)).Select(_ => rng.NextDouble() * 4 - 2)];
        AttentionReference At() => new(x[0], x[1], x[2], Tokens, Tokens, Scale, (i, j) => x[4][i * Tokens + j]);
        (double[] dq, double[] dk, double[] dv, double[] dBias) = At().Backward(x[3]);
        double Loss() => At().Out.Zip(x[3], (a, b) => a * b).Sum();
        double[][] gradients = [dq, dk, dv, dBias];
        int[] moved = [0, 1, 2, 4];
        for (int n = 0; n < 4; n++)
        {
            for (int i = 0; i < gradients[n].Length; i++)
            {
                double[] of = x[moved[n]];
                double value = of[i];
                of[i] = value + Step;
                double up = Loss();
                of[i] = value - Step;
                double difference = (up - Loss()) / (2 * Step);
                of[i] = value;
                Assert.Equal(difference, gradients[n][i], 1e-8);
            }
        }
    }
}
