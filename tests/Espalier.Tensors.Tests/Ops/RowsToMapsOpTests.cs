namespace Espalier.Tensors.Tests.Ops;

/// <summary>Rows of a grid as maps, and back.</summary>
public class RowsToMapsOpTests
{
    [Fact]
    public void Each_is_the_others_way_back()
    {
        using var scope = new Scope();
        Tensor x = With(GradientCheck.Random(1, 2 * 14, 5), 2, 14), maps = F.RowsToMaps(x, 2, 3, 4);
        Assert.Equal(new Shape(2, 5, 3, 4), maps.Shape);
        Assert.Null(maps.Rows);
        // Image 1, channel 3, line 2, column 1 is that of token 2 + 2 · 4 + 1.
        Assert.Equal(x.Span[(14 + 11) * 5 + 3], maps.Span[((5 + 3) * 3 + 2) * 4 + 1]);
        Tensor back = F.MapsToRows(maps, F.TakeRows(x, 0, 2), 2);
        Assert.Equal(x.ToArray(), back.ToArray());
        Assert.Equal(x.Rows, back.Rows);
        Tensor zeros = F.MapsToRows(maps, null, 2);
        Assert.All(F.TakeRows(zeros, 0, 2).ToArray(), v => Assert.Equal(0, v));
        Assert.Equal(F.TakeRows(x, 2, 12).ToArray(), F.TakeRows(zeros, 2, 12).ToArray());
    }

    [Fact]
    public void GradientsAreTheNumericOnes()
    {
        GradientCheck.Check(t => F.RowsToMaps(With(t[0], 2, 7), 1, 2, 3), GradientCheck.Random(1, 14, 3));
        GradientCheck.Check(t => F.MapsToRows(t[0], t[1], 2), GradientCheck.Random(2, 2, 3, 2, 2), GradientCheck.Random(3, 4, 3));
        GradientCheck.Check(t => F.MapsToRows(t[0], null, 1), GradientCheck.Random(4, 2, 3, 1, 4));
    }

    [Fact]
    public void ChannelsStayWhatTheyAre()
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        Tensor x = With(GradientCheck.Random(1, 10, 3), 2, 5), maps = F.RowsToMaps(x, 1, 2, 2);
        Tensor first = GradientCheck.Random(2, 2, 3), rows = F.MapsToRows(maps, first, 1);
        Assert.Equal([new Coupling(maps, 1, 0, 1, x, 1, 0, 1, 3), new Coupling(rows, 1, 0, 1, maps, 1, 0, 1, 3),
            new Coupling(rows, 1, 0, 1, first, 1, 0, 1, 3)], recording.Flow().Couplings);
    }

    [Fact]
    public void OtherRowsAreRefused()
    {
        using var scope = new Scope();
        Tensor x = GradientCheck.Random(1, 10, 3);
        Assert.Contains("RowsToMaps", Assert.Throws<ArgumentException>(() => F.RowsToMaps(x, 1, 2, 2)).Message);
        Tensor rows = With(x, 2, 5);
        Assert.Contains("5 rows", Assert.Throws<ArgumentException>(() => F.RowsToMaps(rows, 0, 2, 2)).Message);
        Tensor kept = F.KeepRows(rows, F.Sum(rows, 1), KeepRule.Count(3));
        Assert.Throws<ArgumentException>(() => F.RowsToMaps(kept, 1, 2, 2));
        Assert.Throws<ArgumentException>(() => F.MapsToRows(GradientCheck.Random(2, 2, 3, 2, 2), x, 1));
        Assert.Throws<ArgumentException>(() => F.MapsToRows(rows));
    }

    private static Tensor With(Tensor x, int images, int tokens)
    {
        x.Rows = RowSet.Uniform(images, tokens);
        return x;
    }
}
