using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Matrix products of float32 matrices whose values are rounded to bfloat16 on the way in and summed in float32, for
/// training: both operands change from call to call, so that both are packed in each. Every sum is made by one thread in one order:
/// the number of threads does not show.</summary>
internal static unsafe class Bf16Gemm
{
    /// <summary>Below so many rows, columns or steps packing costs more than narrow numbers save.</summary>
    public const int Fewest = 32;

    /// <summary>Most steps of K at a time, and bytes of A that may stay in L2 meanwhile, half of it.</summary>
    private const int MaxSteps = 2048, L2Bytes = 512 * 1024;

    // Behind each panel, for what packing writes past its end.
    private const int Slack = 64;

    /// <summary>C [m, n] = op(A) op(B), then the epilogue; <see cref="Product.Tiles"/> does not matter.</summary>
    public static void Run(DotTile tile, in Product product)
    {
        if (product.Epilogue.Gelu && product.Epilogue.Accumulate)
            throw new ArgumentException("Gemm: GELU cannot be combined with adding to C");
        int chunks = (product.K + MaxSteps - 1) / MaxSteps;
        int steps = Blocking.RoundUp((product.K + chunks - 1) / chunks, 16);
        int rows = (product.M + tile.MaxRows - 1) / tile.MaxRows, columns = (product.N + tile.Columns - 1) / tile.Columns;
        nint panelA = PanelBytes(tile.MaxRows, steps), panelB = PanelBytes(tile.Columns, steps);
        byte* a = (byte*)GemmScratch.PartialSums.Get(((rows * panelA) + (columns * panelB)) / sizeof(float));
        var work = new Work
        {
            Tile = tile, Product = product, RowTiles = rows, Panels = columns, PanelA = panelA, PanelB = panelB,
            A = a, B = a + (rows * panelA), TilesABlock = (int)Math.Max(1, L2Bytes / panelA),
        };
        for (int first = 0; first < product.K; first += steps)
        {
            work.First = first;
            work.Steps = Math.Min(steps, product.K - first);
            Workers.For(rows + columns, 1, new PackJob { Work = work });
            Workers.For(rows * columns, 1, new MultiplyJob { Work = work });
        }
    }

    private static nint PanelBytes(int lines, int steps) => (((nint)lines * steps * sizeof(ushort)) + Slack + 63) & ~(nint)63;

    /// <summary>One chunk of K of one product.</summary>
    private struct Work
    {
        public DotTile Tile;
        public Product Product;
        public byte* A, B;
        public nint PanelA, PanelB;
        public int RowTiles, Panels, TilesABlock, First, Steps;

        /// <summary>Groups of a panel, whole rounds of the tile: what is behind the last step is zero.</summary>
        public readonly nint Groups => Blocking.RoundUp(Steps, 16) / Bf16Rows.GroupSize;

        public readonly int Lines(int rowTile) => Math.Min(Tile.MaxRows, Product.M - (rowTile * Tile.MaxRows));
    }

    private struct PackJob : IRangeJob
    {
        public Work Work;

        public readonly void Run(int start, int end, int worker)
        {
            ref readonly Product p = ref Work.Product;
            DotTile tile = Work.Tile;
            for (int i = start; i < end; i++)
            {
                if (i < Work.RowTiles)
                {
                    int lines = Work.Lines(i);
                    Pack(p.A, p.Lda, p.TransA, i * tile.MaxRows, lines, tile.Height(lines), Work.A + (i * Work.PanelA));
                }
                else
                {
                    int panel = i - Work.RowTiles, column = panel * tile.Columns;
                    Pack(p.B, p.Ldb, !p.TransB, column, Math.Min(tile.Columns, p.N - column), tile.Columns,
                        Work.B + (panel * Work.PanelB));
                }
            }
        }

        // Lines of a matrix, which are its columns where they lie side by side.
        private readonly void Pack(float* x, int ld, bool sideBySide, int first, int lines, int height, byte* panel)
        {
            if (sideBySide) Bf16Rows.PackColumns(x + ((nint)Work.First * ld) + first, ld, lines, height, Work.Steps, panel);
            else Bf16Rows.Pack(x + ((nint)first * ld) + Work.First, ld, lines, height, Work.Steps, panel);
        }
    }

    private struct MultiplyJob : IRangeJob
    {
        public Work Work;

        // Blocks of rows, which stay in L2, and in each all panels of B, which stream past.
        public readonly void Run(int start, int end, int worker)
        {
            float* zeros = GemmScratch.EdgeTile.Get((nint)(Work.Tile.MaxRows + 1) * Work.Tile.Columns);
            new Span<float>(zeros, Work.Tile.Columns).Clear();
            for (int index = start; index < end; index++)
            {
                int block = index / (Work.TilesABlock * Work.Panels) * Work.TilesABlock;
                int tiles = Math.Min(Work.TilesABlock, Work.RowTiles - block), within = index - (block * Work.Panels);
                Multiply(block + (within % tiles), within / tiles, zeros, zeros + Work.Tile.Columns);
            }
        }

        private readonly void Multiply(int rowTile, int panel, float* zeros, float* sums)
        {
            ref readonly Product p = ref Work.Product;
            DotTile tile = Work.Tile;
            int lines = Work.Lines(rowTile), row = rowTile * tile.MaxRows;
            int column = panel * tile.Columns, count = Math.Min(tile.Columns, p.N - column);
            tile.Run(tile.Height(lines), Work.Groups, Work.A + (rowTile * Work.PanelA), Work.B + (panel * Work.PanelB), zeros, sums);
            float* c = p.C + ((nint)row * p.Ldc) + column;
            bool adds = Work.First > 0 || p.Epilogue.Accumulate;
            for (int i = 0; i < lines; i++, c += p.Ldc, sums += tile.Columns)
            {
                if (adds) Epilogue.Add(sums, c, count);
                else new ReadOnlySpan<float>(sums, count).CopyTo(new Span<float>(c, count));
            }
            if (Work.First + Work.Steps >= p.K && !p.Epilogue.IsEmpty) p.Epilogue.Apply(p.C, p.Ldc, row, column, lines, count);
        }
    }
}
