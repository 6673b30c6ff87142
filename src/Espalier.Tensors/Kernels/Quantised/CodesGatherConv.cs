using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>A <see cref="CodesConv"/> with any <see cref="DotTile"/>: what each output pixel sees is gathered, a few pixels at a
/// time, into a panel of groups of 4 codes, and multiplied with every panel of the weights.</summary>
internal sealed unsafe class CodesGatherConv : CodesConv
{
    private const int Four = Int8Rows.GroupSize;

    private readonly DotTile tile;
    private readonly int groups, panels, fours;
    private readonly nint depth;
    private readonly NativeFloats weights, start;

    public CodesGatherConv(int channels, int outputs, int groups, sbyte* weight, int* bias, int zero, in ConvShape shape,
        DotTile tile)
        : base(channels, outputs, zero, shape)
    {
        int each = channels / groups, taps = shape.Taps, columns = tile.Columns, rows = outputs / groups;
        (this.tile, this.groups, fours, panels) = (tile, groups, (each + Four - 1) / Four, (rows + columns - 1) / columns);
        depth = Blocking.RoundUp(fours * taps, DotTile.GroupMultiple);
        weights = new NativeFloats(groups * panels * depth * columns);
        start = new NativeFloats((nint)groups * panels * columns);
        for (int o = 0; o < outputs; o++)
        {
            int group = o / rows, panel = (group * panels) + (o % rows / columns), column = o % rows % columns;
            sbyte* row = weight + ((nint)o * each * taps), to = (sbyte*)Panel(panel) + (column * Four);
            for (int c = 0; c < each; c++)
                for (int t = 0; t < taps; t++) to[(((nint)t * fours + (c / Four)) * columns * Four) + (c % Four)] =
                    row[(c * taps) + t];
            ((int*)start.Data)[(panel * columns) + column] = Start(row, each * taps, bias[o], zero);
        }
    }

    public override long Bytes => 4 * (weights.Length + start.Length);

    public override void Run(int images, int height, int width, byte* x, int ldx, in CodesEpilogue epilogue)
    {
        Window window = Shape.Over(height, width);
        int pixels = images * window.OutArea;
        if (pixels == 0) return;
        int grain = Math.Max(1, (int)(200_000 / Math.Max(1, depth * panels * groups)));
        Workers.For(pixels, grain, new Job(this, window, x, ldx, epilogue));
        GC.KeepAlive(this);
    }

    public override void Dispose()
    {
        weights.Dispose();
        start.Dispose();
    }

    private float* Panel(int panel) => weights.Data + (panel * depth * tile.Columns);

    private readonly struct Job(CodesGatherConv conv, Window window, byte* x, int ldx, CodesEpilogue epilogue) : IRangeJob
    {
        public void Run(int first, int end, int worker)
        {
            DotTile tile = conv.tile;
            int columns = tile.Columns, rows = conv.Outputs / conv.groups;
            float* panel = Scratch.Rent(((tile.MaxRows + 1) * conv.depth) + ((nint)tile.MaxRows * columns) + 32);
            float* sums = panel + Blocking.RoundUp((int)((tile.MaxRows + 1) * conv.depth), 16);
            for (int group = 0; group < conv.groups; group++)
            {
                for (int pixel = first, height; pixel < end; pixel += height)
                {
                    height = tile.Height(end - pixel);
                    int lines = Math.Min(height, end - pixel);
                    for (int line = 0; line < height; line++) Gather(group, pixel + Math.Min(line, lines - 1),
                        (int*)panel + line, height);
                    for (int p = 0; p < conv.panels; p++)
                    {
                        int index = (group * conv.panels) + p, count = Math.Min(columns, rows - (p * columns));
                        tile.Run(height, conv.depth, (byte*)panel, (byte*)conv.Panel(index),
                            (int*)conv.start.Data + (index * columns), sums);
                        epilogue.Finish((int*)sums, columns, pixel, lines, (group * rows) + (p * columns), count);
                    }
                }
            }
        }

        // A pixel's groups of 4 codes, each `step` ints after the one before; what is behind the last meets weights of zero.
        private void Gather(int group, int pixel, int* to, int step)
        {
            int image = pixel / window.OutArea, row = pixel % window.OutArea / window.OutWidth, column = pixel % window.OutWidth;
            int fours = conv.fours, empty = conv.Zero * 0x01010101;
            nint channel = (nint)group * (conv.Channels / conv.groups);
            for (int ky = 0; ky < window.KernelHeight; ky++)
            {
                int y = window.Row(row, ky);
                for (int kx = 0; kx < window.KernelWidth; kx++)
                {
                    int at = window.Column(column, kx);
                    if ((uint)y >= (uint)window.Height || (uint)at >= (uint)window.Width)
                    {
                        for (int c = 0; c < fours; c++, to += step) *to = empty;
                        continue;
                    }

                    int* from = (int*)(x + ((((nint)image * window.Height) + y) * window.Width + at) * ldx + channel);
                    for (int c = 0; c < fours; c++, to += step) *to = from[c];
                }
            }
        }
    }
}
