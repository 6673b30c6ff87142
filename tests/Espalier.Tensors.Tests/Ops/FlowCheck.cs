namespace Espalier.Tensors.Tests.Ops;

/// <summary>What one op says about channels, in a form that is easy to compare.</summary>
internal static class FlowCheck
{
    /// <summary>
    /// Runs the op and returns its couplings as "y1+2*4=x0+0*1:3": axis 1 of y from entry 2 in blocks of 4 goes with axis 0 of x
    /// in blocks of 1, three of them. "y1=x0" stands for whole axes, entry for entry; "!x1" for a fixed axis. The result is y,
    /// the inputs x, z, w, v in order.
    /// </summary>
    public static string[] Of(Func<Tensor[], Tensor> op, params int[][] shapes)
    {
        using var scope = new Scope();
        using var recording = new Recording(gradients: false);
        Tensor[] inputs = Array.ConvertAll(shapes, s => Tensor.Full(new Shape(s), 1));
        Tensor y = op(inputs);
        ChannelFlow flow = recording.Flow();
        return
        [
            .. flow.Couplings.Select(c => Whole(c)
                ? $"{Name(c.A)}{c.AxisA}={Name(c.B)}{c.AxisB}"
                : $"{Name(c.A)}{c.AxisA}+{c.StartA}*{c.BlockA}={Name(c.B)}{c.AxisB}+{c.StartB}*{c.BlockB}:{c.Count}"),
            .. flow.FixedAxes.Select(f => $"!{Name(f.Tensor)}{f.Axis}"),
        ];

        string Name(Tensor t) => t == y ? "y" : "xzwv"[Array.IndexOf(inputs, t)].ToString();
    }

    private static bool Whole(Coupling c) =>
        c is { StartA: 0, StartB: 0, BlockA: 1, BlockB: 1 } && c.Count == c.A.Shape[c.AxisA] && c.Count == c.B.Shape[c.AxisB];
}
