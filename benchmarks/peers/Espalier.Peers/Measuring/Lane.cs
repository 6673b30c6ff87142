namespace Espalier.Peers;

/// <summary>One of the things that are measured in turn.</summary>
/// <param name="Window">Measures for about so many seconds and gives a figure: seconds a call, or a rate.</param>
internal sealed record Lane(string Name, Func<double, double> Window)
{
    public static implicit operator Lane(Side side) => new(side.Name, side.Run);
}
