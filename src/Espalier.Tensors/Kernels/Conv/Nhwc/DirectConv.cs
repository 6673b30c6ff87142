using System.Runtime.CompilerServices;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Convolution without a matrix of gathered rows: tiles (<see cref="ConvTile"/>) read the pixels where they lie, or in
/// a copy with the padding around it, line by line of the kernel; in NHWC those are stretches of kernel width times channels
/// floats.</summary>
internal sealed unsafe class DirectConv : PackedConv
{
    // Cycles that make a thread worth waking for rows: in a small transformer, with its short passes between the products, the
    // threads often sleep.
    private const int RowsThreadCost = 20_000;

    // Weights that are turned at a time: they stay in the first-level cache.
    private const int TurnedFloats = 4 * 1024;

    private readonly NativeFloats weights, bias;
    private readonly int groups, panels;

    /// <param name="order">How the weights lie; OIHW where left out.</param>
    /// <param name="pooled">See <see cref="NativeFloats"/>.</param>
    public DirectConv(
        int channels, int outputs, int groups, float* weight, float* bias, in ConvShape shape, ConvTile tile,
        WeightOrder? order = null, bool pooled = false)
        : base(channels, outputs, shape)
    {
        Tile = tile;
        this.groups = groups;
        panels = (GroupOutputs + ConvTile.Columns - 1) / ConvTile.Columns;
        weights = new NativeFloats(groups * GroupFloats, cleared: shape.Taps > 1 && GroupOutputs % ConvTile.Lanes != 0, pooled);
        this.bias = new NativeFloats((nint)groups * panels * ConvTile.Columns, cleared: true, pooled);
        Workers.For(Panels, 1, new PackJob(this, weight, order ?? new WeightOrder(Depth, shape.Taps), bias));
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
        Run(images, Shape.Over(height, width), x, ldx, y, ldy, epilogue, null, default, Workers.Available);
    }

    /// <summary>A 1 x 1 convolution as a linear layer: y [rows, Outputs] = epilogue(x [rows, Channels] Wᵀ), where the bias is the
    /// epilogue's instead of the convolution's.</summary>
    public void RunRows(int rows, float* x, int ldx, float* y, int ldy, in Epilogue epilogue)
    {
        // The tile adds the bias and one matrix; GELU and what comes after it are done to the tile that it has stored.
        var stored = new ConvEpilogue
        {
            Residual = epilogue.Accumulate ? y : epilogue.Gelu ? null : epilogue.Residual,
            LdResidual = epilogue.Accumulate ? ldy : epilogue.LdResidual,
        };
        Epilogue rest = epilogue;
        rest.Bias = null;
        rest.Residual = stored.Residual == epilogue.Residual ? null : epilogue.Residual;
        int threads = (int)Math.Clamp((long)rows * Panels * Depth / RowsThreadCost, 1, Workers.Available);
        Run(1, Shape.Over(1, rows), x, ldx, y, ldy, stored, epilogue.Bias, rest, threads);
    }

    /// <summary>A convolution of codes by <see cref="ConvTile.Codes"/>: what is a float elsewhere is 4 codes of a pixel here.</summary>
    /// <param name="padding">Codes of 0 around the image.</param>
    public void RunCodes(int images, int height, int width, float* x, int ldx, float padding, in CodesEpilogue codes)
    {
        Window window = Shape.Over(height, width);
        if (images * window.OutArea == 0 || Outputs == 0) return;
        var source = new DirectSource(this, images, window, x, ldx, default, padding);
        DirectGrid grid = DirectGrid.Choose(this, source, Workers.Available);
        Workers.For(grid.Parts, 1, new DirectJob(this, source, grid, null, 0, default, null, default, codes));
        GC.KeepAlive(this);
    }

    public override void Dispose()
    {
        weights.Dispose();
        bias.Dispose();
    }

    private void Run(
        int images, in Window window, float* x, int ldx, float* y, int ldy, in ConvEpilogue epilogue, float* callBias,
        in Epilogue rest, int threads)
    {
        if (images * window.OutArea == 0 || Outputs == 0) return;

        var source = new DirectSource(this, images, window, x, ldx, epilogue);
        DirectGrid grid = DirectGrid.Choose(this, source, threads);
        Workers.For(grid.Parts, 1, new DirectJob(this, source, grid, y, ldy, epilogue, callBias, rest));
        GC.KeepAlive(this);
    }

    // To steps by outputs.
    private readonly struct PackJob(DirectConv conv, float* weight, WeightOrder order, float* bias) : IRangeJob
    {
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Run(int start, int end, int worker)
        {
            for (int panel = start; panel < end; panel++)
            {
                int first = conv.FirstOutput(panel), count = conv.OutputsOf(panel);
                Pack(weight + (first * order.Output), count, ConvTile.Lanes * conv.Vectors(panel), conv.WeightsOf(panel));
                if (bias == null) continue;
                new ReadOnlySpan<float>(bias + first, count).CopyTo(new Span<float>(conv.BiasOf(panel), count));
            }
        }

        private void Pack(float* from, int count, int width, float* to)
        {
            int taps = conv.Shape.Taps, inputs = conv.GroupChannels;
            if (taps == 1)
            {
                Packing.Panel(from, order.Output, order.Input, count, width, inputs, to);
                return;
            }

            // Where the kernels of some inputs follow each other they are turned together.
            int together = order.Input == taps ? Math.Max(1, TurnedFloats / (taps * width)) : 1;
            float* turned = Scratch.Rent((nint)together * taps * width);
            for (int first = 0; first < inputs; first += together)
            {
                int some = Math.Min(together, inputs - first);
                float* source = from + (first * order.Input);
                Transposition.Run(source, order.Output, turned, width, count, some * taps, accumulate: false);
                Spread(turned, first, some, count, width, to);
            }
        }

        // [inputs, taps, width] to [taps, inputs, width]
        private void Spread(float* turned, int first, int some, int count, int width, float* to)
        {
            int taps = conv.Shape.Taps;
            for (int i = first; i < first + some; i++)
            {
                for (int k = 0; k < taps; k++, turned += width)
                {
                    nint tap = order.Turned ? taps - 1 - k : k;
                    float* target = to + (((tap * conv.GroupChannels) + i) * width);
                    new ReadOnlySpan<float>(turned, count).CopyTo(new Span<float>(target, count));
                }
            }
        }
    }
}
