using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>A 3 x 3 convolution of stride 1 that runs by <see cref="Winograd"/>'s transforms where the size of the map makes
/// that faster (<see cref="WinogradGrid.Faster"/>), and else directly. The transformed weights, four times the others, are made
/// at the first run that wants them.</summary>
/// <param name="pooled">See <see cref="NativeFloats"/>.</param>
internal sealed unsafe class WinogradConv(DirectConv direct, bool pooled = false)
    : PackedConv(direct.Channels, direct.Outputs, direct.Shape)
{
    private readonly Lock making = new();
    private NativeFloats? transformed;

    public override long Bytes => direct.Bytes + (4 * (transformed?.Length ?? 0));

    public DirectConv Direct => direct;

    /// <summary>Whether a 3 x 3 kernel moves one pixel at a time over images of one group.</summary>
    public static bool Suits(in ConvShape shape, int groups) =>
        groups == 1 && shape is { KernelHeight: 3, KernelWidth: 3, Stride: (1, 1), Dilation: 1 };

    /// <summary>[36, channels, 16 or 32] of one panel.</summary>
    public float* WeightsOf(int panel) =>
        transformed!.Data + ((nint)panel * ConvTile.Columns * Channels * Winograd.Values);

    public override void Run(
        int images, int height, int width, float* x, int ldx, float* y, int ldy, in ConvEpilogue epilogue)
    {
        Window window = Shape.Over(height, width);
        if (epilogue.InputScale != null || !WinogradGrid.Faster(direct, images, window))
        {
            direct.Run(images, height, width, x, ldx, y, ldy, epilogue);
            return;
        }

        RunTransformed(images, window, x, ldx, y, ldy, epilogue);
    }

    /// <summary>Runs by the transforms whatever the size. There is no prologue here.</summary>
    public void RunTransformed(
        int images, in Window window, float* x, int ldx, float* y, int ldy, in ConvEpilogue epilogue)
    {
        MakeWeights();
        WinogradGrid grid = WinogradGrid.Choose(direct, images, window, Workers.Available);
        Workers.For(grid.Parts, 1, new WinogradJob(this, grid, window, x, ldx, y, ldy, epilogue));
        GC.KeepAlive(this);
    }

    public override void Dispose()
    {
        direct.Dispose();
        transformed?.Dispose();
    }

    /// <summary>Makes the transformed weights, which the first run that wants them does otherwise.</summary>
    public void MakeWeights()
    {
        if (Volatile.Read(ref transformed) != null) return;
        lock (making)
        {
            if (transformed != null) return;
            nint floats = (nint)Winograd.Values * Channels * Blocking.RoundUp(Outputs, ConvTile.Lanes);
            var weights = new NativeFloats(floats, cleared: false, pooled);
            Workers.For(direct.Panels, 1, new WeightsJob(direct, weights.Data));
            Volatile.Write(ref transformed, weights);
        }
    }

    private readonly struct WeightsJob(DirectConv direct, float* weights) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            float* half = stackalloc float[18 * ConvTile.Lanes];
            nint channels = direct.Channels;
            for (int panel = start; panel < end; panel++)
            {
                nint step = channels * direct.Vectors(panel) * ConvTile.Lanes;
                float* from = direct.WeightsOf(panel);
                float* to = weights + (panel * ConvTile.Columns * channels * Winograd.Values);
                for (nint i = 0; i < step; i += ConvTile.Lanes)
                    Winograd.Kernel<Simd512, Vector512<float>>(from + i, step, to + i, step, half);
            }
        }
    }
}
