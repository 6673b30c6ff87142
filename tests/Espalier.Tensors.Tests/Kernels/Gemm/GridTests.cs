using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels;

public sealed class GridTests
{
    [Fact]
    public void TinyProductsStayOnOneThread() => Assert.Equal(1, Choose(32, 32, 32, 64).Parts);

    [Theory]
    [InlineData(2)]
    [InlineData(8)]
    [InlineData(64)]
    public void LargeProductsUseEveryThread(int threads)
    {
        Grid grid = Choose(1576, 3072, 768, threads);
        Assert.Equal(1, grid.Steps);
        Assert.InRange(grid.Parts, threads * 7 / 8, threads);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(8)]
    public void SmallWeightGradientsSplitTheSteps(int threads) => Assert.True(Choose(64, 64, 12_800, threads).Steps > 1);

    [Fact]
    public void PartsCoverTheProductOnce()
    {
        foreach ((int m, int n, int k) in new[] { (64, 64, 12_800), (197, 1000, 768), (1, 3072, 768), (3200, 64, 64) })
        {
            Product product = Shape(m, n, k);
            for (int threads = 1; threads < 20; threads++)
            {
                Grid grid = Grid.Choose(product, threads);
                Assert.InRange(grid.Parts, 1, threads);
                long covered = 0;
                int step = 0;
                for (int index = 0; index < grid.Parts; index++)
                {
                    (Range rows, Range columns, Range steps) = grid.Part(product, index);
                    covered += (long)rows.GetOffsetAndLength(m).Length * columns.GetOffsetAndLength(n).Length
                        * steps.GetOffsetAndLength(k).Length;
                    Assert.True(steps.Start.Value >= step);
                    step = steps.Start.Value;
                }

                Assert.Equal((long)m * n * k, covered);
            }
        }
    }

    private static Grid Choose(int m, int n, int k, int threads) => Grid.Choose(Shape(m, n, k), threads);

    private static Product Shape(int m, int n, int k) => new() { Tiles = KernelInfo.Tiles, M = m, N = n, K = k };
}
