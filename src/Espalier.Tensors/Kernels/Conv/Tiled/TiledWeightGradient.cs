using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// The gradient of a convolution's weights: for each tap the product of dy, whose planes [O, pixels] tiles read where they lie,
/// and the pixels of x that the tap has seen (<see cref="TapRows"/>). Threads share the blocks of 32 channels; where there are too
/// few of these they share the images, each with sums of its own that are added in order, so that runs repeat.
/// </summary>
internal readonly unsafe struct TiledWeightGradient
{
    // Planes so many bytes apart would all fall into the same set of the first-level cache, which has fewer ways than a tile has
    // outputs.
    private const int Alias = 4096, AliasOutputs = 8;

    private readonly Window window;
    private readonly int batch, channels, outputs, imagesAtOnce, outputsAtOnce;
    private readonly bool sharesImages;
    private readonly ConvTile tile;

    public TiledWeightGradient(int batch, int channels, int outputs, in Window window, ConvTile tile)
    {
        (this.batch, this.channels, this.outputs, this.window, this.tile) = (batch, channels, outputs, window, tile);
        imagesAtOnce = Math.Clamp(TapRows.Most / window.OutArea, 1, batch);
        outputsAtOnce = window.OutArea * sizeof(float) % Alias == 0 ? AliasOutputs : ConvTile.MaxPixels;
        sharesImages = Blocks % Workers.Threads != 0 && Blocks < 4 * Workers.Threads;
    }

    private int Blocks => (channels + ConvTile.Columns - 1) / ConvTile.Columns;

    private int Items => sharesImages ? batch : Blocks;

    /// <summary>Sums of a block: [taps, O, 16 or 32], or of two taps at a time side by side.</summary>
    private nint BlockSums => (nint)(window.Taps + 1) * outputs * ConvTile.Columns;

    /// <summary>Sums of a thread: those of all blocks, where it has only some of the images.</summary>
    private nint Sums => sharesImages ? Blocks * BlockSums : BlockSums;

    /// <summary>dw [O, C, kh, kw] = the gradient, or dw += it.</summary>
    public void Run(float* x, float* dy, float* dw, bool accumulate)
    {
        int parts = Workers.Parts(Items, 1);
        nint pixels = (nint)imagesAtOnce * window.Area * ConvTile.Columns, rows = TapRows.Floats(window, imagesAtOnce);
        using var sums = new NativeFloats(parts * Sums, cleared: false, pooled: true);
        using var scratch = new NativeFloats(parts * (pixels + rows), cleared: false, pooled: true);
        var job = new Job(this, x, dy, dw, accumulate, sums.Data, scratch.Data, pixels, pixels + rows);
        Workers.For(Items, 1, job);
        for (int part = 0; sharesImages && part < parts; part++)
            for (int block = 0; block < Blocks; block++)
                Add(block, sums.Data + (part * Sums) + (block * BlockSums), dw, accumulate || part > 0);
    }

    /// <summary>Channels of a block, in whole vectors.</summary>
    private int Width(int block) => channels - (block * ConvTile.Columns) > ConvTile.Lanes ? ConvTile.Columns : ConvTile.Lanes;

    // To the order of the weights.
    private void Add(int block, float* sums, float* dw, bool accumulate)
    {
        int first = block * ConvTile.Columns, width = Width(block), count = Math.Min(width, channels - first), taps = window.Taps;
        int together = ConvTile.Columns / width;
        nint step = (nint)outputs * ConvTile.Columns;
        for (int o = 0; o < outputs; o++)
        {
            float* from = sums + (o * ConvTile.Columns), to = dw + ((((nint)o * channels) + first) * taps);
            for (int t = 0; t < together; t++)
            {
                int some = (taps - t + together - 1) / together;
                if (together == 1) Transposition.Run(from, step, to, taps, taps, count, accumulate);
                else Every(from + (t * width), step, to + t, together, some, count, accumulate);
            }
        }
    }

    // Rows that are taps some apart.
    private void Every(float* from, nint next, float* to, int apart, int rows, int columns, bool accumulate)
    {
        for (int r = 0; r < rows; r++)
        {
            for (int c = 0; c < columns; c++)
            {
                float* target = to + (r * apart) + (c * window.Taps);
                *target = from[(r * next) + c] + (accumulate ? *target : 0);
            }
        }
    }

    private readonly struct Job(
        TiledWeightGradient g, float* x, float* dy, float* dw, bool accumulate, float* sums, float* scratch, nint rowsAt,
        nint each) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            float* pixels = scratch + (worker * each), own = sums + (worker * g.Sums);
            (int firstBlock, int lastBlock) = g.sharesImages ? (0, g.Blocks) : (start, end);
            (int firstImage, int lastImage) = g.sharesImages ? (start, end) : (0, g.batch);
            for (int block = firstBlock; block < lastBlock; block++)
            {
                float* to = g.sharesImages ? own + (block * g.BlockSums) : own;
                bool continued = false;
                for (int first = firstImage; first < lastImage; first += g.imagesAtOnce, continued = true)
                    Images(block, first, Math.Min(g.imagesAtOnce, lastImage - first), pixels, to, continued);
                if (!g.sharesImages) g.Add(block, to, dw, accumulate);
            }
        }

        private void Images(int block, int first, int images, float* pixels, float* to, bool continued)
        {
            int area = g.window.Area, width = g.Width(block), channel = block * ConvTile.Columns;
            int count = Math.Min(width, g.channels - channel);
            if (count < width) new Span<float>(pixels, images * area * width).Clear();
            for (int i = 0; i < images; i++)
            {
                float* planes = x + ((((nint)(first + i) * g.channels) + channel) * area);
                Transposition.Run(planes, area, pixels + ((nint)i * area * width), width, count, area, accumulate: false);
            }

            var rows = new TapRows(g.window, pixels, images, width, pixels + rowsAt);
            for (int line = 0; line < g.window.OutHeight; line += rows.Lines, continued = true)
                Lines(rows, first, line, Math.Min(line + rows.Lines, g.window.OutHeight), to, continued);
        }

        private void Lines(in TapRows rows, int first, int line, int last, float* to, bool continued)
        {
            Window w = g.window;
            nint* offsets = stackalloc nint[rows.Images];
            for (int i = 0; i < rows.Images; i++) offsets[i] = (nint)i * g.outputs * w.OutArea * sizeof(float);
            float* zeros = stackalloc float[ConvTile.Columns];
            new Span<float>(zeros, ConvTile.Columns).Clear();
            var arguments = new ConvTile.Arguments
            {
                Stretches = rows.Images,
                Steps = (nint)(last - line) * w.OutWidth,
                Offsets = offsets,
                RowX = (nint)w.OutArea * sizeof(float),
                Weights = rows.Data,
                Bias = zeros,
                RowY = ConvTile.Columns * sizeof(float),
                Modes = continued ? (long)ConvTile.Modes.Continue : 0,
                Mask = 0xFFFFFFFFL,
                Ahead = rows.Data,
            };
            float* gradient = dy + ((nint)first * g.outputs * w.OutArea) + (line * w.OutWidth);
            int together = ConvTile.Columns / rows.Width;
            for (int tap = 0; tap < w.Taps; tap += together, to += (nint)g.outputs * ConvTile.Columns)
            {
                int taps = Math.Min(together, w.Taps - tap);
                for (int t = 0; t < taps; t++) rows.Gather(tap + t, line, last, rows.Data + (t * rows.Width), taps * rows.Width);
                Outputs(gradient, to, taps * rows.Width / ConvTile.Lanes, arguments);
            }
        }

        private void Outputs(float* gradient, float* to, int vectors, ConvTile.Arguments arguments)
        {
            int tiles = (g.outputs + g.outputsAtOnce - 1) / g.outputsAtOnce;
            nint area = g.window.OutArea;
            for (int t = 0; t < tiles; t++)
            {
                int o = g.outputs * t / tiles, count = (g.outputs * (t + 1) / tiles) - o, half = (count + 1) / 2;
                arguments.X = gradient + (o * area);
                arguments.X2 = arguments.X + (half * area);
                arguments.Y = to + (o * ConvTile.Columns);
                arguments.Y2 = arguments.Y + (half * ConvTile.Columns);
                g.tile.Run(count, vectors, &arguments);
            }
        }
    }
}
