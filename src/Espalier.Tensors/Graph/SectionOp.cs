namespace Espalier.Tensors;

/// <summary>
/// A section of a graph as one op, whose results in between are not kept: the backward pass runs it a second time, recorded, and
/// goes back through that. The second run draws the same random numbers, since each stream begins where it stood before the
/// first, and batch norms note nothing, so that loss and gradients are those of the section's ops bit for bit.
/// </summary>
internal sealed class SectionOp : Op
{
    private readonly GraphSection section;
    private readonly Tensor[] from;
    private readonly RunContext run;
    private readonly (RandomStream Stream, ulong Calls)[] streams;

    /// <param name="from">Of the values that the section begins with; it ends with one.</param>
    public SectionOp(GraphSection section, Tensor[] from, RunContext run)
        : base([.. from, .. section.Part.Weights.Values.Select(w => w.Tensor)])
    {
        (this.section, this.from, this.run) = (section, from, run);
        streams = [.. section.Part.Nodes.Select(n => n.Op).OfType<DropoutOp>().Select(d => d.Stream).Distinct()
            .Select(s => (s, s.Calls))];
    }

    public override string Name => "Section";

    /// <summary>Known when it has run: it is made of values only.</summary>
    public override Shape Result => Output.Shape;

    /// <summary>Of the graph's example.</summary>
    public override Cost Cost => section.Part.Nodes.Aggregate(default(Cost), (sum, node) => sum + node.Op.Cost);

    protected override Tensor Forward()
    {
        using var scope = new Scope();
        using (Recording.Pause()) return section.Part.Run([.. from.Select(Alone)], run)[0].Keep();
    }

    protected internal override void Backward(Tensor dy)
    {
        using var scope = new Scope();
        using var recording = new Recording();
        Tensor[] inputs = [.. from.Select(Alone)];
        // What others have added to the gradients stays in front, as it is where nothing is computed again.
        foreach (var (input, whole) in inputs.Zip(from)) (input.Grad, whole.Grad) = (whole.Grad, null);
        ulong[] calls = [.. streams.Select(s => s.Stream.Calls)];
        foreach (var (stream, first) in streams) stream.Calls = first;
        Tensor y = section.Part.Run(inputs, run with { Again = true })[0];
        foreach (var (at, now) in streams.Zip(calls)) at.Stream.Calls = now;
        // Whether a gradient is whole is known to the pass around this one.
        using (GradientsWhole.By(null)) recording.Backward(y, dy);
        foreach (var (input, whole) in inputs.Zip(from)) (whole.Grad, input.Grad) = (input.Grad, null);
    }

    /// <summary>A section is of a run, not of a graph that channels could be read from.</summary>
    public override void Flow(ChannelFlow flow) =>
        throw new NotSupportedException("channels are read from a pass that keeps every op");

    private protected override RowSet? ResultRows() => null;

    /// <summary>The same values as a tensor that no op has made: where a backward pass ends.</summary>
    private static Tensor Alone(Tensor x)
    {
        Tensor alone = x.View(x.Shape);
        (alone.Rows, alone.RequiresGrad) = (x.Rows, x.RequiresGrad);
        return alone;
    }
}
