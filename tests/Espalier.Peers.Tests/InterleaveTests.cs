namespace Espalier.Peers.Tests;

public sealed class InterleaveTests
{
    [Fact]
    public void Rounds_go_forwards_and_backwards_and_keep_each_figure_with_its_lane()
    {
        var order = new List<string>();
        Lane Lane(string name, double figure) => new(name, seconds =>
        {
            Assert.Equal(0.25, seconds);
            order.Add(name);
            return figure + order.Count;
        });
        Measurement measured = Interleave.Run(3, 0, 0.25, Lane("a", 100), Lane("b", 200));
        Assert.Equal(["a", "b", "b", "a", "a", "b"], order);
        Assert.Equal([[101, 202], [104, 203], [105, 206]], measured.Figures);
    }
}
