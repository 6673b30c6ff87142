using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Kernels;

[Collection("Workers")]
public sealed class GemmTests : IDisposable
{
    private static readonly int[] Sizes = [1, 7, 12, 13, 17, 32, 33, 63, 64, 65, 197];

    private readonly int threadsBefore = Workers.Threads;

    public static TheoryData<string, bool, bool> TilesAndTranspositions
    {
        get
        {
            var data = new TheoryData<string, bool, bool>();
            foreach (string tiles in new[] { "avx512", "avx2", "advsimd", "portable" })
            {
                // What the processor lacks falls back to what it has; once is enough.
                if (KernelInfo.Choose(tiles).Tiles.Name == tiles)
                {
                    data.Add(tiles, false, false);
                    data.Add(tiles, false, true);
                    data.Add(tiles, true, false);
                    data.Add(tiles, true, true);
                }
            }

            return data;
        }
    }

    public void Dispose() => Workers.Threads = threadsBefore;

    [Theory]
    [MemberData(nameof(TilesAndTranspositions))]
    public void MatchesTheReferenceAtUglySizes(string tiles, bool transA, bool transB)
    {
        Parts[] epilogues = [Parts.None, Parts.Bias, Parts.Accumulate, Parts.Bias | Parts.Residual, Parts.Bias | Parts.Gelu];
        int round = 0;
        foreach (int m in Sizes)
        {
            foreach (int n in Sizes)
            {
                foreach (int k in Sizes)
                {
                    // Every third combination: enough to meet each pair of sizes, at a third of the time.
                    if (++round % 3 != 0)
                    {
                        continue;
                    }

                    Workers.Threads = 1 + (round % 2);
                    using var problem = new Problem(transA, transB, m, n, k, epilogues[round % epilogues.Length]);
                    problem.Tiles = KernelInfo.Choose(tiles).Tiles;
                    problem.Run();
                    problem.AssertMatchesReference();
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(TilesAndTranspositions))]
    public void MatchesTheReferenceInEveryBlocking(string tiles, bool transA, bool transB)
    {
        // Several blocks of steps; several of columns; K split over threads; few rows; nothing to sum.
        (int M, int N, int K)[] shapes =
            [(50, 140, 1600), (30, 1100, 20), (400, 300, 30), (17, 33, 5000), (3, 70, 900), (5, 9, 0)];
        foreach ((int m, int n, int k) in shapes)
        {
            using var problem = new Problem(transA, transB, m, n, k, Parts.Bias | Parts.Residual);
            problem.Tiles = KernelInfo.Choose(tiles).Tiles;
            foreach (int threads in new[] { 1, 2, 8 })
            {
                Workers.Threads = threads;
                problem.Run();
                problem.AssertMatchesReference();
            }
        }
    }

    [Theory]
    [InlineData(Parts.None)]
    [InlineData(Parts.Bias)]
    [InlineData(Parts.Residual)]
    [InlineData(Parts.Accumulate)]
    [InlineData(Parts.ResidualInPlace)]
    [InlineData(Parts.Gelu)]
    [InlineData(Parts.Gelu | Parts.PreActivation)]
    [InlineData(Parts.Bias | Parts.Gelu | Parts.Quick | Parts.Residual)]
    [InlineData(Parts.Bias | Parts.Accumulate)]
    [InlineData(Parts.Bias | Parts.ResidualInPlace)]
    [InlineData(Parts.Residual | Parts.Accumulate)]
    [InlineData(Parts.Gelu | Parts.Residual)]
    [InlineData(Parts.Bias | Parts.Residual | Parts.Accumulate)]
    [InlineData(Parts.Bias | Parts.Gelu | Parts.PreActivation | Parts.Residual)]
    public void EpiloguesMatchTheReference(Parts parts)
    {
        (int M, int N, int K)[] shapes = [(26, 37, 11), (13, 64, 900), (12, 10, 4000)];
        foreach ((int m, int n, int k) in shapes)
        {
            using var problem = new Problem(false, false, m, n, k, parts);
            foreach (int threads in new[] { 1, 2, 8 })
            {
                Workers.Threads = threads;
                problem.Run();
                problem.AssertMatchesReference();
                problem.Run(prepacked: true);
                problem.AssertMatchesReference();
            }
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(8)]
    public void RepeatsBitForBit(int threads)
    {
        Workers.Threads = threads;
        (int M, int N, int K)[] shapes = [(64, 64, 3200), (197, 96, 64), (12, 33, 5000), (100, 300, 500)];
        foreach ((int m, int n, int k) in shapes)
        {
            using var problem = new Problem(true, false, m, n, k, Parts.Bias);
            float[] first = problem.Run();
            for (int round = 0; round < 5; round++)
            {
                Assert.Equal(first, problem.Run());
            }
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void PrepackedWeightsMatchTheReference(bool transB)
    {
        foreach (int m in Sizes)
        {
            foreach (int n in Sizes)
            {
                Workers.Threads = 1 + (m % 2);
                using var problem = new Problem(false, transB, m, n, 70, Parts.Bias);
                problem.Run(prepacked: true);
                problem.AssertMatchesReference();
            }
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void ACallAllocatesNothing(int threads)
    {
        Workers.Threads = threads;
        using var split = new Problem(true, false, 64, 64, 3200, Parts.Bias);
        using var grid = new Problem(false, true, 197, 65, 300, Parts.Gelu);
        split.RunOnce();
        grid.RunOnce();
        long start = GC.GetAllocatedBytesForCurrentThread();
        for (int round = 0; round < 20; round++)
        {
            split.RunOnce();
            grid.RunOnce();
        }

        Assert.Equal(start, GC.GetAllocatedBytesForCurrentThread());
    }

    [Fact]
    public unsafe void WrongArgumentsAreRefused()
    {
        using var problem = new Problem(false, false, 4, 4, 4, Parts.Gelu | Parts.Accumulate);
        Assert.Throws<ArgumentException>(problem.RunOnce);

        float value = 1;
        var b = new PackedB(false, 1, 1, &value, 1);
        Assert.Throws<ArgumentException>(() => RunPacked(2, b));
        b.Dispose();
        Assert.Throws<ObjectDisposedException>(() => RunPacked(1, b));
    }

    private static unsafe void RunPacked(int n, PackedB b)
    {
        float* values = stackalloc float[4];
        Gemm.Run(1, n, 1, values, 1, b, values + 2, 2, default);
    }
}
