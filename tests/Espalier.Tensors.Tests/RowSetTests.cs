namespace Espalier.Tensors.Tests;

public class RowSetTests
{
    [Fact]
    public void LengthsAddUp()
    {
        RowSet offsets = RowSet.FromLengths([3, 0, 5]);
        Assert.Equal([0, 3, 3, 8], offsets.Starts.ToArray());
        Assert.Equal((3, 8, 5), (offsets.Images, offsets.Rows, offsets.MaxLength));
        Assert.Equal((3, 5), (offsets[2], offsets.Length(2)));
    }

    [Fact]
    public void UniformIsEqualLengths()
    {
        Assert.Equal(RowSet.FromLengths([7, 7, 7]).Starts.ToArray(), RowSet.Uniform(3, 7).Starts.ToArray());
        Assert.Equal(0, RowSet.Uniform(0, 7).Rows);
    }

    [Fact]
    public void ConcatShiftsTheSecond()
    {
        RowSet both = RowSet.Concat(RowSet.FromLengths([2, 1]), RowSet.FromLengths([4]));
        Assert.Equal([0, 2, 3, 7], both.Starts.ToArray());
        Assert.Equal(4, both.MaxLength);
    }

    [Fact]
    public void ImpossibleLengthsAreRefused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => RowSet.FromLengths([1, -1]));
        Assert.Throws<OverflowException>(() => RowSet.FromLengths([int.MaxValue, 1]));
        Assert.Throws<OverflowException>(() => RowSet.Uniform(2, int.MaxValue));
    }
}
