using System.Runtime.InteropServices;
using Espalier.Tensors.Memory;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>A <see cref="PackedLinear"/> over groups of 4 bytes (see <see cref="DotTile"/>): each thread rounds its rows a block
/// at a time, multiplies them with every panel of the weights, and finishes each tile while it is in the cache.</summary>
internal abstract unsafe class GroupedLinear : PackedLinear
{
    /// <summary>Bytes of rounded rows that may stay in L2 while panels pass.</summary>
    private const int BlockBytes = 384 * 1024;

    /// <summary>Tiles of rows in a block where all the panels stay in L2: the rounded rows then stay in L1.</summary>
    private const int SmallBlock = 4;

    // Rows are cut and padded in vectors of 16 floats.
    private const int ValueMultiple = 16;

    private readonly nint groups;
    private readonly int panels;
    private readonly nint bytes;
    private byte* data;

    /// <param name="groupSize">Values of a group: 4 bytes.</param>
    protected GroupedLinear(int outputs, int inputs, DotTile tile, int groupSize)
        : base(outputs, inputs)
    {
        Tile = tile;
        groups = (nint)Blocking.RoundUp(inputs, ValueMultiple) / groupSize;
        panels = (outputs + tile.Columns - 1) / tile.Columns;
        bytes = checked(panels * PanelBytes + (2 * (nint)panels * tile.Columns * sizeof(float)));
        data = (byte*)NativeBlock.Allocate((nuint)Math.Max(bytes, 64));
        NativeMemory.Clear(data, (nuint)bytes);
    }

    ~GroupedLinear() => Free();

    public override long Bytes => bytes;

    /// <summary>The kernel.</summary>
    public DotTile Tile { get; }

    /// <summary>Panels of the weights, each [groups, columns of a tile, 4 bytes]; zero at first.</summary>
    protected byte* Panel(int index) => data + (index * PanelBytes);

    /// <summary>What the sums of each column begin with; zero at first.</summary>
    protected int* Start => (int*)(data + (panels * PanelBytes));

    /// <summary>What the sums of each column are multiplied with; zero at first.</summary>
    protected float* ColumnScales => (float*)(Start + (panels * Tile.Columns));

    private nint PanelBytes => groups * Tile.Columns * sizeof(int);

    /// <summary>Puts an output's weights of 8 bits into its column.</summary>
    /// <param name="row">[Inputs].</param>
    /// <returns>Their sum.</returns>
    protected int PackColumn(int output, sbyte* row)
    {
        nint step = Tile.Columns * Int8Rows.GroupSize;
        sbyte* column = (sbyte*)Panel(output / Tile.Columns) + (output % Tile.Columns * Int8Rows.GroupSize);
        int sum = 0;
        for (int k = 0; k < Inputs; k++)
        {
            column[(k / Int8Rows.GroupSize * step) + (k % Int8Rows.GroupSize)] = row[k];
            sum += row[k];
        }
        return sum;
    }

    /// <summary>Rounds rows [<paramref name="lines"/>, Inputs] into a panel [groups, <paramref name="height"/>, 4 bytes]; up to
    /// 12 bytes behind it may be overwritten.</summary>
    /// <param name="scales">[lines], where the format has scales.</param>
    protected abstract void PackRows(float* x, int ldx, int lines, int height, byte* panel, float* scales);

    /// <summary>Makes values of a tile's sums.</summary>
    protected abstract void Finish(in TileFinish finish, void* sums, float* scales, int lines, float* columnScales);

    public override void Run(int rows, float* x, int ldx, float* y, int ldy, in Epilogue epilogue)
    {
        ObjectDisposedException.ThrowIf(data == null, this);
        if (epilogue.Accumulate || epilogue.PreActivation != null)
        {
            throw new ArgumentException("a low-precision layer neither adds to y nor keeps the values before GELU");
        }

        if (rows <= 0 || Outputs == 0)
        {
            return;
        }

        LinearGrid grid = LinearGrid.Choose(rows, panels, groups, Workers.Available);
        var job = new PartsJob
        {
            Layer = this,
            Grid = grid,
            Rows = rows,
            X = x,
            Ldx = ldx,
            Y = y,
            Ldy = ldy,
            Epilogue = epilogue,
        };
        Workers.For(grid.Parts, 1, job);
        GC.KeepAlive(this);
    }

    public override void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    private void Free()
    {
        NativeMemory.AlignedFree(data);
        data = null;
    }

    private struct PartsJob : IRangeJob
    {
        public GroupedLinear Layer;
        public LinearGrid Grid;
        public int Rows;
        public float* X;
        public int Ldx;
        public float* Y;
        public int Ldy;
        public Epilogue Epilogue;

        public readonly void Run(int start, int end, int worker)
        {
            for (int index = start; index < end; index++)
            {
                (int row, int rowEnd, int panel, int panelEnd) = Grid.Part(Rows, Layer.panels, index);
                nint bytesOfRow = Layer.groups * sizeof(int);
                nint fit = (panelEnd - panel) * Layer.PanelBytes <= BlockBytes
                    ? SmallBlock * Layer.Tile.MaxRows
                    : Math.Max(Layer.Tile.MaxRows, BlockBytes / bytesOfRow);

                // Equal blocks: a last one of few rows would read all of the panels for little.
                int count = rowEnd - row;
                int blocks = (int)((count + fit - 1) / fit);
                for (int block = 0; block < blocks; block++)
                {
                    int first = row + (int)((long)count * block / blocks);
                    Block(first, row + (int)((long)count * (block + 1) / blocks) - first, panel, panelEnd);
                }
            }
        }

        private readonly void Block(int row, int rows, int panel, int panelEnd)
        {
            DotTile tile = Layer.Tile;
            int width = tile.Columns;
            nint bytesOfRow = Layer.groups * sizeof(int);
            nint rowsBytes = ((rows + tile.MaxRows) * bytesOfRow) + 64;
            nint sumsFloats = (nint)tile.MaxRows * width;
            byte* packed = (byte*)Scratch.Rent((rowsBytes / 64 * 16) + 16 + sumsFloats + width + rows);
            float* sums = (float*)(packed + (rowsBytes / 64 * 64) + 64);
            float* bias = sums + sumsFloats;
            float* scales = bias + width;
            int height;
            for (int i = 0; i < rows; i += height)
            {
                height = tile.Height(rows - i);
                float* x = X + ((nint)(row + i) * Ldx);
                Layer.PackRows(x, Ldx, Math.Min(height, rows - i), height, packed + (i * bytesOfRow), scales + i);
            }

            for (int p = panel; p < panelEnd; p++)
            {
                byte* b = Layer.Panel(p);
                var finish = new TileFinish(Epilogue, p * width, Math.Min(width, Layer.Outputs - (p * width)), width, bias);
                for (int i = 0; i < rows; i += height)
                {
                    height = tile.Height(rows - i);
                    int lines = Math.Min(height, rows - i);
                    finish.MoveTo(row + i, Y, Ldy);
                    finish.Prefetch(lines);
                    tile.Run(height, Layer.groups, packed + (i * bytesOfRow), b, Layer.Start + (p * width), sums);
                    Layer.Finish(finish, sums, scales + i, lines, Layer.ColumnScales + (p * width));
                }
            }
        }
    }
}
