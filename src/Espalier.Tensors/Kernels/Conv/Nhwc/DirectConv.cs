using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Convolution without a matrix of gathered rows: tiles (<see cref="ConvTile"/>) read the pixels where they lie, or in
/// a copy with the padding around it, line by line of the kernel; in NHWC those are stretches of kernel width times channels
/// floats.</summary>
internal sealed unsafe class DirectConv : PackedConv
{
    private readonly NativeFloats weights, bias;
    private readonly int groups, panels;

    public DirectConv(int channels, int outputs, int groups, float* weight, float* bias, in ConvShape shape, ConvTile tile)
        : base(channels, outputs, shape)
    {
        Tile = tile;
        this.groups = groups;
        panels = (GroupOutputs + ConvTile.Columns - 1) / ConvTile.Columns;
        weights = new NativeFloats(groups * GroupFloats);
        this.bias = new NativeFloats((nint)groups * panels * ConvTile.Columns);
        for (int panel = 0; panel < Panels; panel++)
        {
            int first = FirstOutput(panel), count = OutputsOf(panel);
            Pack(weight + (nint)first * Depth, count, ConvTile.Lanes * Vectors(panel), WeightsOf(panel));
            if (bias != null) new ReadOnlySpan<float>(bias + first, count).CopyTo(new Span<float>(BiasOf(panel), count));
        }
    }

    public override long Bytes => 4 * (weights.Length + bias.Length);

    public ConvTile Tile { get; }

    /// <summary>Channels of x that an output sees.</summary>
    public int GroupChannels => Channels / groups;

    public int Groups => groups;

    /// <summary>Panels of at most 32 outputs, those of all groups.</summary>
    public int Panels => groups * panels;

    /// <summary>What an output sums over.</summary>
    public int Depth => GroupChannels * Shape.Taps;

    private int GroupOutputs => Outputs / groups;

    private nint GroupFloats => (nint)Depth * Blocking.RoundUp(GroupOutputs, ConvTile.Lanes);

    /// <summary>The group that a panel belongs to.</summary>
    public int GroupOf(int panel) => panel / panels;

    /// <summary>The first output of a panel.</summary>
    public int FirstOutput(int panel) => (panel / panels * GroupOutputs) + (panel % panels * ConvTile.Columns);

    /// <summary>How many outputs a panel has.</summary>
    public int OutputsOf(int panel) => Math.Min(ConvTile.Columns, GroupOutputs - (panel % panels * ConvTile.Columns));

    /// <summary>Vectors of 16 that a panel's outputs take.</summary>
    public int Vectors(int panel) => OutputsOf(panel) > ConvTile.Lanes ? 2 : 1;

    /// <summary>[kernel height, kernel width, group's channels, 16 or 32]</summary>
    public float* WeightsOf(int panel) =>
        weights.Data + (panel / panels * GroupFloats) + ((nint)(panel % panels) * ConvTile.Columns * Depth);

    public float* BiasOf(int panel) => bias.Data + ((nint)panel * ConvTile.Columns);

    public override void Run(
        int images, int height, int width, float* x, int ldx, float* y, int ldy, in ConvEpilogue epilogue)
    {
        Window window = Shape.Over(height, width);
        if (images * window.OutArea == 0 || Outputs == 0) return;

        var source = new DirectSource(this, images, window, x, ldx, epilogue);
        DirectGrid grid = DirectGrid.Choose(this, source, Workers.Available);
        Workers.For(grid.Parts, 1, new DirectJob(this, source, grid, y, ldy, epilogue));
        GC.KeepAlive(this);
    }

    public override void Dispose()
    {
        weights.Dispose();
        bias.Dispose();
    }

    // OIHW to steps by outputs.
    private void Pack(float* weight, int count, int width, float* panel)
    {
        int taps = Shape.Taps, inputs = GroupChannels;
        for (int o = 0; o < count; o++)
            for (int c = 0; c < inputs; c++)
                for (int tap = 0; tap < taps; tap++)
                    panel[((((nint)tap * inputs) + c) * width) + o] = weight[(((nint)o * inputs) + c) * taps + tap];
    }
}
