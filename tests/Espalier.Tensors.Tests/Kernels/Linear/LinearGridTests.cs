using Espalier.Tensors.Kernels;

namespace Espalier.Tensors.Tests.Kernels.Linear;

public sealed class LinearGridTests
{
    [Theory]
    [InlineData(1576, 72, 192, 2)]
    [InlineData(197, 24, 768, 7)]
    [InlineData(1, 32, 192, 8)]
    [InlineData(5, 3, 4, 64)]
    [InlineData(40, 1, 5000, 64)]
    public void PartsCoverEverythingOnce(int rows, int panels, int groups, int threads)
    {
        LinearGrid grid = LinearGrid.Choose(rows, panels, groups, threads);
        Assert.InRange(grid.Parts, 1, threads);
        int[,] seen = new int[rows, panels];
        for (int index = 0; index < grid.Parts; index++)
        {
            (int row, int rowEnd, int panel, int panelEnd) = grid.Part(rows, panels, index);
            Assert.True(row < rowEnd && panel < panelEnd);
            for (int i = row; i < rowEnd; i++)
            {
                for (int j = panel; j < panelEnd; j++)
                {
                    seen[i, j]++;
                }
            }
        }

        Assert.All(seen.Cast<int>(), count => Assert.Equal(1, count));
    }

    [Fact]
    public void RowsAreCutWhereThereAreManyAndPanelsWhereThereAreFew()
    {
        Assert.Equal(new LinearGrid(2, 1), LinearGrid.Choose(1576, 72, 192, 2));
        Assert.Equal(new LinearGrid(1, 8), LinearGrid.Choose(4, 96, 768, 8));
        Assert.Equal(new LinearGrid(1, 1), LinearGrid.Choose(4, 4, 16, 8));
    }
}
