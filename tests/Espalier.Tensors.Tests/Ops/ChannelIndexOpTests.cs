namespace Espalier.Tensors.Tests.Ops;

public class ChannelIndexOpTests
{
    [Fact]
    public void Gradients()
    {
        using var scope = new Scope();
        Tensor index = Tensor.From(new Shape(2), [3, 1]);
        GradientCheck.Check(t => F.IndexSelect(t[0], index), GradientCheck.Random(1, 2, 4, 3, 2));
        GradientCheck.Check(t => F.IndexAdd(t[0], t[1], index, t[2]),
            GradientCheck.Random(1, 2, 4, 3), GradientCheck.Random(2, 4), GradientCheck.Random(3, 2, 2, 3));
    }

    /// <summary>The stream's gradient may take the memory of the result's, which nobody may read any more then.</summary>
    [Fact]
    public void AStreamMayBeItsOwnBranch()
    {
        using var scope = new Scope();
        Tensor index = Tensor.From(new Shape(2), [1, 0]);
        GradientCheck.Check(t =>
        {
            Tensor stream = F.Square(t[0]);
            return F.IndexAdd(stream, t[1], index, stream);
        }, GradientCheck.Random(1, 2, 2, 3), GradientCheck.Random(2, 2));
    }

    [Fact]
    public void ListsGoWithTheNarrowSideAndTheWideOneStays()
    {
        Assert.Equal(["y1=z0", "y0=x0", "!x1"], FlowCheck.Of(t => F.IndexSelect(t[0], Counted(t[1])), [2, 3], [2]));
        using var scope = new Scope();
        Tensor index = Tensor.From(new Shape(2), [0, 1]);
        using var recording = new Recording(gradients: false);
        Tensor x = Tensor.Zeros(new Shape(2, 3)), shift = Tensor.Zeros(new Shape(3)), branch = Tensor.Zeros(new Shape(2, 2));
        Tensor y = F.IndexAdd(x, shift, index, branch);
        Assert.Equal(
            [new(branch, 1, 0, 1, index, 0, 0, 1, 2), new(y, 1, 0, 1, shift, 0, 0, 1, 3), new(y, 0, 0, 1, x, 0, 0, 1, 2),
                new(y, 1, 0, 1, x, 1, 0, 1, 3), new(y, 0, 0, 1, branch, 0, 0, 1, 2)],
            recording.Flow().Couplings);
        Assert.Equal((x, 1), recording.Flow().FixedAxes.Select(f => (f.Tensor, f.Axis)).Single());
    }

    [Fact]
    public void WrongListsAreNamed()
    {
        using var scope = new Scope();
        Tensor x = Tensor.Zeros(new Shape(1, 3));
        foreach (float wrong in (float[])[3, -1, 0.5f, float.NaN, 1])
        {
            Tensor index = Tensor.From(new Shape(2), [1, wrong]);
            Assert.Contains("IndexSelect: the list of channels must name different ones of 0 to 2",
                Assert.Throws<ArgumentException>(() => F.IndexSelect(x, index)).Message);
        }
        Assert.Contains("IndexAdd: x [1,3], shift [2]", Assert.Throws<ArgumentException>(
            () => F.IndexAdd(x, Tensor.Zeros(new Shape(2)), Tensor.Zeros(new Shape(1)), Tensor.Zeros(new Shape(1, 1)))).Message);
    }

    private static Tensor Counted(Tensor index)
    {
        for (int i = 0; i < index.Length; i++) index.Span[i] = i;
        return index;
    }
}
