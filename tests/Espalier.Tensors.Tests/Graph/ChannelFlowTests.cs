namespace Espalier.Tensors.Tests.Graphs;

public class ChannelFlowTests
{
    [Fact]
    public void BlocksMustFitBothAxes()
    {
        using var scope = new Scope();
        Tensor a = Tensor.Zeros(new Shape(2, 12)), b = Tensor.Zeros(new Shape(2, 3));
        var flow = new ChannelFlow();
        flow.Couple(a, -1, 0, 4, b, -1, 0, 1, 3);
        Assert.Equal(new Coupling(a, 1, 0, 4, b, 1, 0, 1, 3), Assert.Single(flow.Couplings));
        Assert.Throws<ArgumentException>(() => flow.Couple(a, 1, 1, 4, b, 1, 0, 1, 3));
        Assert.Throws<ArgumentException>(() => flow.Same(a, 1, b, 1));
    }
}
