using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>The loops of a convolution by <see cref="Winograd"/> in one thread: blocks of tiles are transformed; then for each
/// panel of outputs 36 products, and their transform back while they are in the cache.</summary>
internal readonly unsafe struct WinogradJob(
    WinogradConv conv, WinogradGrid grid, Window window, float* x, int ldx, float* y, int ldy, ConvEpilogue epilogue)
    : IRangeJob
{
    private const int Values = Winograd.Values;

    [MethodImpl(MethodImplOptions.NoInlining)]
    public void Run(int start, int end, int worker)
    {
        int channels = conv.Channels;
        nint inputStep = Odd((nint)grid.Block * channels), outputStep = Odd(grid.Block * ConvTile.Columns);
        nint zeros = Blocking.RoundUp(channels, ConvTile.Lanes), half = Values * ConvTile.Lanes;
        float* empty = Scratch.Rent(zeros + half + (Values * (inputStep + outputStep)));
        float* working = empty + zeros, inputs = working + half, outputs = inputs + (Values * inputStep);
        new Span<float>(empty, (int)zeros).Clear();
        for (int part = start; part < end; part++)
        {
            (int tile, int last) = grid.TilesOf(part);
            (int firstPanel, int lastPanel) = grid.PanelsOf(part, conv.Direct.Panels);
            int blocks = (last - tile + grid.Block - 1) / grid.Block, tiles = last - tile;
            for (int block = 0; block < blocks; block++)
            {
                int first = tile + (int)((long)tiles * block / blocks);
                int count = tile + (int)((long)tiles * (block + 1) / blocks) - first;
                for (int i = 0; i < count; i++) Input(first + i, inputs + ((nint)i * channels), inputStep, empty, working);
                for (int panel = firstPanel; panel < lastPanel; panel++)
                {
                    Products(panel, count, inputs, inputStep, outputs, outputStep);
                    for (int i = 0; i < count; i++)
                        Output(first + i, panel, outputs + ((nint)i * ConvTile.Columns), outputStep, working);
                }
            }
        }
    }

    // A step whose cache lines are odd in number, so that the 36 values of a tile fall into different sets of the cache.
    private static nint Odd(nint floats) => ((floats / 16) | 1) * 16 + (floats % 16 == 0 ? 0 : 32);

    private void Input(int tile, float* to, nint step, float* zeros, float* working)
    {
        (int image, int row, int column) = Place(tile);
        var patch = new WinogradPatch(
            x + ((nint)image * window.Area * ldx), window.Height, window.Width, ldx,
            row - window.Padding.Top, column - window.Padding.Left, zeros);
        int channels = conv.Channels, whole = channels / ConvTile.Lanes * ConvTile.Lanes;
        Winograd.Input<Simd512, Vector512<float>>(&patch, 0, whole, to, step, working);
        Winograd.Input<Scalar, float>(&patch, whole, channels, to, step, working);
    }

    // outputs[v] = inputs[v] · weights[v] for each of the 36 values.
    private void Products(
        int panel, int count, float* inputs, nint inputStep, float* outputs, nint outputStep)
    {
        int channels = conv.Channels, vectors = conv.Direct.Vectors(panel), most = ConvTile.MaxPixels;
        int tiles = (count + most - 1) / most;
        nint none = 0;
        float* bias = stackalloc float[ConvTile.Columns];
        new Span<float>(bias, ConvTile.Columns).Clear();
        var arguments = new ConvTile.Arguments
        {
            Stretches = 1,
            Steps = channels,
            Offsets = &none,
            RowX = (nint)channels * sizeof(float),
            RowY = ConvTile.Columns * sizeof(float),
            Bias = bias,
            Weights = conv.WeightsOf(panel),
            Mask = 0xFFFFFFFFL,
        };
        for (int v = 0; v < Values; v++)
        {
            float* from = inputs + (v * inputStep), to = outputs + (v * outputStep);
            for (int i = 0; i < tiles; i++)
            {
                int first = count * i / tiles, pixels = (count * (i + 1) / tiles) - first, half = (pixels + 1) / 2;
                arguments.X = from + ((nint)first * channels);
                arguments.X2 = arguments.X + ((nint)half * channels);
                arguments.Y = to + ((nint)first * ConvTile.Columns);
                arguments.Y2 = arguments.Y + ((nint)half * ConvTile.Columns);

                // The last tiles fetch the weights that follow.
                int slice = Math.Max(0, vectors - (tiles - i));
                arguments.Ahead = arguments.Weights + ((nint)channels * (vectors + slice) * ConvTile.Lanes);
                conv.Direct.Tile.Run(pixels, vectors, &arguments);
            }

            arguments.Weights += (nint)channels * vectors * ConvTile.Lanes;
        }
    }

    private void Output(int tile, int panel, float* values, nint step, float* working)
    {
        (int image, int row, int column) = Place(tile);
        nint pixel = ((nint)image * window.OutArea) + ((nint)row * window.OutWidth) + column;
        var target = new WinogradTarget
        {
            Y = y + (pixel * ldy),
            Step = ldy,
            Line = (nint)window.OutWidth * ldy,
            Residual = epilogue.Residual == null ? null : epilogue.Residual + (pixel * epilogue.LdResidual),
            ResidualStep = epilogue.LdResidual,
            ResidualLine = (nint)window.OutWidth * epilogue.LdResidual,
            Rows = Math.Min(Winograd.Out, window.OutHeight - row),
            Columns = Math.Min(Winograd.Out, window.OutWidth - column),
        };
        int first = conv.Direct.FirstOutput(panel), count = conv.Direct.OutputsOf(panel), o = 0;
        float* bias = conv.Direct.BiasOf(panel);
        for (; o <= count - ConvTile.Lanes; o += ConvTile.Lanes)
            Winograd.Output<Simd512, Vector512<float>>(
                values + o, step, bias + o, target, first + o, epilogue.Activation, working);
        for (; o < count; o++)
            Winograd.Output<Scalar, float>(values + o, step, bias + o, target, first + o, epilogue.Activation, working);
    }

    private (int Image, int Row, int Column) Place(int tile)
    {
        int perImage = grid.Lines * grid.Columns, at = tile % perImage;
        return (tile / perImage, at / grid.Columns * Winograd.Out, at % grid.Columns * Winograd.Out);
    }
}
