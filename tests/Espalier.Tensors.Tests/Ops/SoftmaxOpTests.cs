namespace Espalier.Tensors.Tests.Ops;

public class SoftmaxOpTests
{
    [Fact]
    public void GradientMatchesDifferences()
    {
        using var scope = new Scope();
        GradientCheck.Check(t => F.Softmax(t[0]), GradientCheck.Random(1, 3, 7));
    }

    [Fact]
    public void RowsSumToOneWhateverTheirSize()
    {
        using var scope = new Scope();
        Tensor y = F.Softmax(Tensor.From(new Shape(2, 3), [1000, 1000, -1000, -5, -5, -5]));
        Assert.Equal([0.5f, 0.5f, 0, 1f / 3, 1f / 3, 1f / 3], y.ToArray());
    }

    [Fact]
    public void LastAxisIsFixedAndAllAxesAreTheSame()
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        Tensor x = GradientCheck.Random(1, 2, 3), y = F.Softmax(x);
        ChannelFlow flow = recording.Flow();
        Assert.Equal((x, 1, null), Assert.Single(flow.FixedAxes));
        Assert.Equal([new Coupling(y, 0, 0, 1, x, 0, 0, 1, 2), new Coupling(y, 1, 0, 1, x, 1, 0, 1, 3)], flow.Couplings);
    }
}
