namespace Espalier.Tensors.Kernels;

/// <summary>Where the pixels of a direct convolution lie, and how its output pixels are cut into tiles and units of work.
/// <para>Without a window (1 x 1, stride 1) all pixels are one row, and a unit is a tile. Else a unit is a line of output, cut
/// into tiles of nearly equal length, or, where two lines fit one tile, two lines.</para></summary>
internal readonly unsafe struct DirectSource
{
    // Pixels this many floats apart would all fall into the same set of the first-level cache.
    private const int Alias = 1024;
    private const int AliasGap = 16;

    private readonly float* x, scale, shift;
    private readonly float padding;
    private readonly int channels, ldx, images;
    private readonly Window window;

    /// <param name="padding">What lies around the image.</param>
    public DirectSource(
        DirectConv conv, int images, in Window window, float* x, int ldx, in ConvEpilogue epilogue, float padding = 0)
    {
        this.padding = padding;
        (this.images, this.window, channels, this.ldx) = (images, window, conv.Channels, ldx);
        this.x = x;
        scale = epilogue.InputScale;
        shift = epilogue.InputShift;
        Flat = conv.Shape.Pointwise;
        Copies = scale != null || window.Padding != default || (Flat && ldx % Alias == 0 && channels > Alias / 4);
        Ld = Copies ? (channels % Alias == 0 ? channels + AliasGap : channels) : ldx;
        LineWidth = Copies ? window.Width + window.Padding.Left + window.Padding.Right : window.Width;
        int pixels = images * window.OutArea, most = ConvTile.MaxPixels;
        Paired = !Flat && 2 * window.OutWidth <= most && images * window.OutHeight > 1;
        TilesPerUnit = Flat || Paired ? 1 : (window.OutWidth + most - 1) / most;
        Units = Flat ? (pixels + most - 1) / most : (images * window.OutHeight + (Paired ? 1 : 0)) / (Paired ? 2 : 1);

        // Taps of a kernel line are one stretch where nothing lies between them.
        bool joined = window.Dilation == 1 && Ld == channels && conv.Groups == 1;
        Steps = conv.GroupChannels * (joined ? window.KernelWidth : 1);
        Stretches = window.KernelHeight * (joined ? 1 : window.KernelWidth);
    }

    /// <summary>Whether all pixels are one row.</summary>
    public bool Flat { get; }

    /// <summary>Whether x is copied block by block: for its padding or prologue, or for the cache's sake.</summary>
    public bool Copies { get; }

    /// <summary>Whether a tile is two lines.</summary>
    public bool Paired { get; }

    /// <summary>Floats between the pixels that tiles read.</summary>
    public int Ld { get; }

    /// <summary>Pixels of a line that tiles read, padding included where it is copied.</summary>
    public int LineWidth { get; }

    public int Units { get; }

    public int TilesPerUnit { get; }

    /// <summary>Stretches that an output pixel sums over, and floats of each.</summary>
    public int Stretches { get; }

    public int Steps { get; }

    /// <summary>Output pixels.</summary>
    public int Pixels => images * window.OutArea;

    /// <summary>Bytes between neighbouring output pixels' places.</summary>
    public nint PixelBytes => (nint)window.Stride.Columns * Ld * sizeof(float);

    private nint Line => (nint)LineWidth * Ld;

    // Lines of x under so many lines of output.
    private int LinesUnder(int outLines) => ((outLines - 1) * window.Stride.Rows) + ((window.KernelHeight - 1) * window.Dilation) + 1;

    /// <summary>Where each stretch begins, in bytes from a pixel's place on.</summary>
    public void WriteOffsets(nint* offsets)
    {
        bool joined = Stretches == window.KernelHeight;
        for (int i = 0; i < Stretches; i++)
        {
            int ky = joined ? i : i / window.KernelWidth, kx = joined ? 0 : i % window.KernelWidth;
            offsets[i] = ((ky * Line) + ((nint)kx * Ld)) * window.Dilation * sizeof(float);
        }
    }

    /// <summary>How many units from <paramref name="unit"/> on, at most up to <paramref name="end"/>, see no more than
    /// <paramref name="floats"/> floats of x; at least one.</summary>
    public int Fit(int unit, int end, nint floats, int mostTiles)
    {
        int most = Math.Max(1, Math.Min(end - unit, mostTiles / TilesPerUnit));
        if (Flat) return (int)Math.Clamp(floats / ((nint)ConvTile.MaxPixels * Ld), 1, most);
        int count = 1;
        while (count < most && Floats(unit, unit + count + 1) <= floats) count++;
        return count;
    }

    /// <summary>Floats of the copy that units <paramref name="unit"/> to <paramref name="end"/> - 1 read.</summary>
    public nint Floats(int unit, int end)
    {
        if (Flat) return (nint)(FirstPixel(end) - FirstPixel(unit)) * Ld;
        (int line, int last) = Lines(unit, end);
        int height = window.OutHeight, image = line / height, between = ((last - 1) / height) - image;
        if (between == 0) return LinesUnder(last - line) * Line;
        int ends = LinesUnder(height - (line % height)) + LinesUnder(((last - 1) % height) + 1);
        return (ends + ((between - 1) * LinesUnder(height))) * Line;
    }

    /// <summary>Copies what units <paramref name="unit"/> to <paramref name="end"/> - 1 read.</summary>
    public void Copy(int unit, int end, float* to)
    {
        if (Flat)
        {
            int first = FirstPixel(unit);
            InputRows.Copy(x + ((nint)first * ldx), ldx, to, Ld, FirstPixel(end) - first, channels, scale, shift);
            return;
        }

        (int line, int last) = Lines(unit, end);
        while (line < last)
        {
            int row = line % window.OutHeight, rows = Math.Min(window.OutHeight - row, last - line);
            int top = window.Row(row, 0), under = LinesUnder(rows);
            for (int i = 0; i < under; i++, to += Line) CopyLine(line / window.OutHeight, top + i, to);
            line += rows;
        }
    }

    /// <summary>Writes the tiles of units <paramref name="unit"/> to <paramref name="end"/> - 1, which read
    /// <paramref name="copy"/> or, where that is null, x itself.</summary>
    public int WriteTiles(int unit, int end, float* copy, DirectTile* tiles)
    {
        DirectTile* tile = tiles;
        int first = Flat ? FirstPixel(unit) : Lines(unit, end).First;
        for (int u = unit; u < end; u++)
        {
            if (Flat)
            {
                int pixel = FirstPixel(u), pixels = FirstPixel(u + 1) - pixel;
                float* place = copy == null ? x + ((nint)pixel * ldx) : copy + ((nint)(pixel - first) * Ld);
                *tile++ = Even(place, pixel, pixels);
                continue;
            }

            (int line, int last) = Lines(u, u + 1);
            float* start = Place(line, first, copy);
            int width = window.OutWidth, outPixel = line * width;
            if (last - line == 2)
            {
                *tile++ = new DirectTile(start, Place(line + 1, first, copy), outPixel, outPixel + width, 2 * width);
                continue;
            }

            for (int i = 0; i < TilesPerUnit; i++)
            {
                int column = width * i / TilesPerUnit, next = width * (i + 1) / TilesPerUnit;
                *tile++ = Even(start + ((nint)column * window.Stride.Columns * Ld), outPixel + column, next - column);
            }
        }

        return (int)(tile - tiles);
    }

    private DirectTile Even(float* place, int pixel, int pixels)
    {
        int half = (pixels + 1) / 2;
        return new DirectTile(place, place + ((nint)half * window.Stride.Columns * Ld), pixel, pixel + half, pixels);
    }

    // Where the first tap of an output line's first pixel lies.
    private float* Place(int line, int first, float* copy)
    {
        int height = window.OutHeight, image = line / height, row = line % height;
        if (copy == null) return x + ((((nint)image * window.Height) + window.Row(row, 0)) * Line);
        int firstImage = first / height, firstRow = first % height;
        if (image == firstImage) return copy + ((nint)(row - firstRow) * window.Stride.Rows * Line);
        nint before = LinesUnder(height - firstRow) + ((nint)(image - firstImage - 1) * LinesUnder(height));
        return copy + ((before + ((nint)row * window.Stride.Rows)) * Line);
    }

    private void CopyLine(int image, int row, float* to)
    {
        if ((uint)row >= (uint)window.Height)
        {
            new Span<float>(to, checked((int)Line)).Fill(padding);
            return;
        }

        int left = window.Padding.Left * Ld, right = window.Padding.Right * Ld;
        new Span<float>(to, left).Fill(padding);
        float* from = x + ((((nint)image * window.Height) + row) * window.Width * ldx);
        InputRows.Copy(from, ldx, to + left, Ld, window.Width, channels, scale, shift);
        new Span<float>(to + Line - right, right).Fill(padding);
    }

    private int FirstPixel(int unit) => (int)((long)Pixels * unit / Units);

    private (int First, int End) Lines(int unit, int end) =>
        Paired ? (2 * unit, Math.Min(2 * end, images * window.OutHeight)) : (unit, end);
}
