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
        using var c = new AttentionCase([tokens, tokens], heads, d);
        c.Execute();
        c.Check(2e-5);
    }

    [Theory]
    [InlineData(16)]
    [InlineData(64)]
    [InlineData(9)]
    public void RaggedImagesDoNotSeeEachOther(int d)
    {
        using var c = new AttentionCase([1, 50, 17, 0, 1, 33, 7, 15, 16, 31, 2, 65], 3, d);
        c.Execute();
        c.Check(2e-5);
    }

    [Fact]
    public void EveryNumberOfTokensAroundTheTilesIsRight()
    {
        for (int tokens = 1; tokens <= 34; tokens++)
        {
            using var c = new AttentionCase([tokens], 1, 4 + tokens);
            c.Execute();
            c.Check(2e-5);
        }
    }

    [Fact]
    public void LongImagesAreWorkedThroughInBlocks()
    {
        using var c = new AttentionCase([577], 1, 16);
        c.Execute();
        c.Check(2e-5);
    }

    [Fact]
    public void LargeScoresDoNotOverflow()
    {
        // Scores of some thousands: exp of any of them is infinite without the maximum taken off. They carry a rounding
        // error of their own, which the probabilities show.
        using var c = new AttentionCase([50, 3], 2, 16, range: 40f);
        c.Execute();
        c.Check(5e-3);
    }

    [Theory]
    [InlineData(60f)]
    [InlineData(2000f)]
    public void LargeScoresCostTheGradientsNoDigits(float range)
    {
        // Scores of up to 3.6e3 and 4e6. Each query prefers one axis by far, and three or five keys lie on it: so probabilities are
        // thirds, fifths and zeros, whatever the rounding of scores so large.
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
        int* offsets = stackalloc int[] { 0, Tokens };
        var heads = new AttentionHeads(offsets, 1, 1, D, 1f);
        float* q = x.Pointer, k = q + Block, v = k + Block;
        float* dq = gradients.Pointer, dk = dq + Block, dv = dk + Block;
        Tensors.Kernels.Attention.Forward(heads, q, D, k, D, v, D, y.Pointer, D, softmax.Pointer);
        Tensors.Kernels.Attention.Backward(
            heads, q, D, k, D, v, D, y.Pointer, D, softmax.Pointer, dOut.Pointer, D, dq, D, dk, D, dv, D);

        double[] Part(GuardedFloats from, int n) => [.. from.Span.Slice(n * Block, Block).ToArray().Select(f => (double)f)];
        var expected = new AttentionReference(Part(x, 0), Part(x, 1), Part(x, 2), Tokens, D, 1);
        (double[] dqs, double[] dks, double[] dvs) =
            expected.Backward(Part(x, 0), Part(x, 1), Part(x, 2), Part(dOut, 0), Tokens, D, 1);
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
        foreach (int[] tokens in new int[][] { [50, 1, 17, 33, 50, 7], [400] })
        {
            using var c = new AttentionCase(tokens, 1, 64);
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
        using var c = new AttentionCase([50, 17], 2, 16);
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
        double[][] x = new double[4][];
        for (int i = 0; i < 4; i++) x[i] = [.. Enumerable.Range(0, Tokens * D).Select(_ => rng.NextDouble() * 4 - 2)];
        (double[] dq, double[] dk, double[] dv) = new AttentionReference(x[0], x[1], x[2], Tokens, D, Scale)
            .Backward(x[0], x[1], x[2], x[3], Tokens, D, Scale);
        double Loss() => new AttentionReference(x[0], x[1], x[2], Tokens, D, Scale).Out.Zip(x[3], (a, b) => a * b).Sum();
        double[][] gradients = [dq, dk, dv];
        for (int n = 0; n < 3; n++)
        {
            for (int i = 0; i < Tokens * D; i++)
            {
                double value = x[n][i];
                x[n][i] = value + Step;
                double up = Loss();
                x[n][i] = value - Step;
                double difference = (up - Loss()) / (2 * Step);
                x[n][i] = value;
                Assert.Equal(difference, gradients[n][i], 1e-8);
            }
        }
    }
}
