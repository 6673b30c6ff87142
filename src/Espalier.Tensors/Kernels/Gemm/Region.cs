namespace Espalier.Tensors.Kernels;

/// <summary>One thread's rows, columns and steps of a product: the loops over blocks, and within a block over tiles.</summary>
internal readonly unsafe ref struct Region
{
    private readonly ref readonly Product product;
    private readonly TileSet tiles;
    private readonly int width;

    // A and B as strides, and which of them are read where they lie.
    private readonly nint rowA;
    private readonly nint stepA;
    private readonly nint columnB;
    private readonly nint stepB;
    private readonly bool directA;
    private readonly bool directB;

    private Region(in Product product, int rows, int columns)
    {
        this.product = ref product;
        tiles = product.Tiles;
        width = tiles.Columns;
        (rowA, stepA) = product.TransA ? ((nint)1, (nint)product.Lda) : (product.Lda, 1);
        (columnB, stepB) = product.TransB ? ((nint)product.Ldb, (nint)1) : (1, product.Ldb);
        directA = columns <= Blocking.DirectPanels * width;
        directB = product.Panels == null && !product.TransB && rows <= Blocking.DirectRows;
    }

    /// <summary>Computes the part of C at <paramref name="rows"/> and <paramref name="columns"/> from
    /// <paramref name="steps"/>.</summary>
    public static void Run(in Product product, Range rows, Range columns, Range steps)
    {
        (int i0, int m) = rows.GetOffsetAndLength(product.M);
        (int j0, int n) = columns.GetOffsetAndLength(product.N);
        (int p0, int k) = steps.GetOffsetAndLength(product.K);
        var region = new Region(product, m, n);
        int blockSteps = Blocking.Steps(k);
        int maxColumns = product.Panels != null ? n : Blocking.MaxColumns;
        for (int j = 0; j < n; j += maxColumns)
        {
            int blockColumns = Math.Min(maxColumns, n - j);
            int blockRows = Blocking.Rows(region.tiles.Rows, blockColumns, blockSteps);

            // At least once: without any steps C is still to be written.
            int p = 0;
            do
            {
                int now = Math.Min(blockSteps, k - p);
                bool last = p + now >= k;
                BlockB b = region.PrepareB(j0 + j, blockColumns, p0 + p, now);
                var addend = new Addend(product, first: p == 0);
                for (int i = 0; i < m; i += blockRows)
                {
                    region.Block(b, addend, last, i0 + i, Math.Min(blockRows, m - i), j0 + j, blockColumns, p0 + p, now);
                }

                p += now;
            }
            while (p < k);
        }
    }

    // Panels of B for one block: where the first begins, how far apart they are, how far a step is; and the last one, which is
    // apart where it has fewer columns than a tile and B is read where it lies.
    private BlockB PrepareB(int j, int columns, int p, int steps)
    {
        if (product.Panels != null)
        {
            float* first = product.Panels + ((nint)j * product.K) + ((nint)p * width);
            return new BlockB(first, (nint)product.K * width, width, first + ((nint)(columns / width) * product.K * width));
        }

        int whole = directB ? columns / width * width : 0;
        float* source = product.B + (j * columnB) + (p * stepB);
        float* panels = GemmScratch.PanelsB.Get((nint)Blocking.RoundUp(columns - whole, width) * steps);
        for (int done = whole; done < columns; done += width)
        {
            int lines = Math.Min(width, columns - done);
            float* panel = panels + ((nint)(done - whole) * steps);
            Packing.Panel(source + (done * columnB), columnB, stepB, lines, width, steps, panel);
        }

        return directB
            ? new BlockB(source, width, stepB, panels)
            : new BlockB(panels, (nint)width * steps, width, panels + ((nint)(columns / width) * width * steps));
    }

    private void Block(in BlockB b, in Addend addend, bool last, int i0, int rows, int j0, int columns, int p0, int steps)
    {
        float* a = product.A + (i0 * rowA) + (p0 * stepA);
        float* packed = PackA(a, rows, steps);
        bool finish = last && !addend.Rest.IsEmpty;
        int ldc = product.Ldc;
        for (int j = 0; j < columns; j += width)
        {
            int tileColumns = Math.Min(width, columns - j);
            bool whole = tileColumns == width;
            float* panel = whole ? b.Panels + (j / width * b.PanelStride) : b.LastPanel;
            nint panelStep = whole ? b.Step : width;
            for (int i = 0; i < rows;)
            {
                var tile = tiles.Choose(rows - i, out int height);
                int tileRows = Math.Min(height, rows - i);
                bool direct = directA && tileRows == height;
                float* tileA = direct ? a + (i * rowA) : directA ? packed : packed + ((nint)i * steps);
                nint tileRow = direct ? rowA : 1;
                nint tileStep = direct ? stepA : height;
                float* d = addend.D + ((i0 + i) * addend.Row) + ((j0 + j) * addend.Column);
                float* c = product.C + ((nint)(i0 + i) * ldc) + j0 + j;
                if (whole && tileRows == height)
                {
                    tile(steps, tileA, tileRow, tileStep, panel, panelStep, d, addend.Row, c, ldc);
                }
                else
                {
                    float* edge = GemmScratch.EdgeTile.Get((nint)tiles.Rows * width);
                    Copy(d, addend.Row, edge, width, tileRows, tileColumns);
                    tile(steps, tileA, tileRow, tileStep, panel, panelStep, edge, width, edge, width);
                    Copy(edge, width, c, ldc, tileRows, tileColumns);
                }

                if (finish)
                {
                    addend.Rest.Apply(product.C, ldc, i0 + i, j0 + j, tileRows, tileColumns);
                }

                i += height;
            }
        }
    }

    // Panels of the block's rows, or only the last one, padded, where A is read where it lies and rows are missing.
    private float* PackA(float* a, int rows, int steps)
    {
        float* packed = GemmScratch.PanelsA.Get((nint)Blocking.RoundUp(rows, tiles.Rows) * steps);
        for (int i = 0; i < rows;)
        {
            tiles.Choose(rows - i, out int height);
            int lines = Math.Min(height, rows - i);
            if (!directA || lines < height)
            {
                Packing.Panel(a + (i * rowA), rowA, stepA, lines, height, steps, directA ? packed : packed + ((nint)i * steps));
            }

            i += height;
        }

        return packed;
    }

    private static void Copy(float* source, nint sourceRow, float* target, nint targetRow, int rows, int columns)
    {
        for (int i = 0; i < rows; i++)
        {
            new ReadOnlySpan<float>(source + (i * sourceRow), columns).CopyTo(new Span<float>(target + (i * targetRow), columns));
        }
    }

    private readonly struct BlockB(float* panels, nint panelStride, nint step, float* lastPanel)
    {
        public readonly float* Panels = panels;
        public readonly nint PanelStride = panelStride;
        public readonly nint Step = step;
        public readonly float* LastPanel = lastPanel;
    }
}
