namespace Espalier.Tensors.Tests;

public class RowOffsetsTests
{
    [Fact]
    public void LengthsAddUp()
    {
        RowOffsets offsets = RowOffsets.FromLengths([3, 0, 5]);
        Assert.Equal([0, 3, 3, 8], offsets.Starts.ToArray());
        Assert.Equal((3, 8, 5), (offsets.Images, offsets.Rows, offsets.MaxLength));
        Assert.Equal((3, 5), (offsets[2], offsets.Length(2)));
    }

    [Fact]
    public void UniformIsEqualLengths()
    {
        Assert.Equal(RowOffsets.FromLengths([7, 7, 7]).Starts.ToArray(), RowOffsets.Uniform(3, 7).Starts.ToArray());
        Assert.Equal(0, RowOffsets.Uniform(0, 7).Rows);
    }

    [Fact]
    public void ConcatShiftsTheSecond()
    {
        RowOffsets both = RowOffsets.Concat(RowOffsets.FromLengths([2, 1]), RowOffsets.FromLengths([4]));
        Assert.Equal([0, 2, 3, 7], both.Starts.ToArray());
        Assert.Equal(4, both.MaxLength);
    }

    [Fact]
    public void ImpossibleLengthsAreRefused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => RowOffsets.FromLengths([1, -1]));
        Assert.Throws<OverflowException>(() => RowOffsets.FromLengths([int.MaxValue, 1]));
        Assert.Throws<OverflowException>(() => RowOffsets.Uniform(2, int.MaxValue));
    }
}
