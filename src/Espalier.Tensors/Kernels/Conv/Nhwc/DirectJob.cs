using System.Runtime.CompilerServices;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>The loops of a direct convolution in one thread: over blocks of units whose pixels stay in the second-level cache,
/// within them over panels of outputs, over blocks of stretches whose weights stay there too, and over tiles.</summary>
/// <param name="callBias">[outputs], in place of the convolution's own bias; null for that.</param>
/// <param name="rest">What a linear layer does to the finished values of a tile, while they are in the first-level cache; only
/// where the convolution is pointwise.</param>
/// <param name="codes">What becomes of the sums of codes, which are not stored themselves; nothing where they are of floats.</param>
internal readonly unsafe struct DirectJob(
    DirectConv conv, DirectSource source, DirectGrid grid, float* y, int ldy, ConvEpilogue epilogue, float* callBias,
    Epilogue rest, CodesEpilogue codes = default) : IRangeJob
{
    // For 1 MB of L2; more only costs speed.
    private const int SourceFloats = 96 * 1024;
    private const int WeightFloats = 80 * 1024;

    private const int MostTiles = 128;

    // Codes: what becomes of a block's sums, and what is added, stays in the first-level cache while panels pass, where all of
    // their weights stay in the second.
    private const int ResultBytes = 32 * 1024, WeightBytes = 512 * 1024;

    private int Most => codes.IsNone || !source.Flat || conv.Bytes > WeightBytes ? MostTiles
        : Math.Clamp(ResultBytes / (ConvTile.MaxPixels * conv.Outputs * (codes.ResidualCodes == null ? 1 : 2)), 1, MostTiles);

    [MethodImpl(MethodImplOptions.NoInlining)]
    public void Run(int start, int end, int worker)
    {
        nint* offsets = stackalloc nint[source.Stretches];
        DirectTile* tiles = stackalloc DirectTile[Math.Max(MostTiles, source.TilesPerUnit)];
        int most = Most;
        source.WriteOffsets(offsets);
        for (int part = start; part < end; part++)
        {
            (int unit, int lastUnit) = grid.UnitsOf(part, source.Units);
            while (unit < lastUnit)
            {
                int next = unit + source.Fit(unit, lastUnit, SourceFloats, most);
                float* copy = null;
                if (source.Copies)
                {
                    copy = Scratch.Rent(source.Floats(unit, next));
                    source.Copy(unit, next, copy);
                }

                Block(part, offsets, tiles, source.WriteTiles(unit, next, copy, tiles));
                unit = next;
            }
        }
    }

    private void Block(int part, nint* offsets, DirectTile* tiles, int count)
    {
        (int firstPanel, int lastPanel) = grid.PanelsOf(part, conv.Panels);
        var arguments = new ConvTile.Arguments
        {
            Steps = source.Steps,
            RowX = source.PixelBytes,
            RowY = (nint)ldy * sizeof(float),
            RowResidual = (nint)epilogue.LdResidual * sizeof(float),
            Limit = BitConverter.SingleToInt32Bits(6f),
        };

        float* edgeBias = stackalloc float[ConvTile.Columns];
        float* sums = stackalloc float[codes.IsNone ? 1 : (ConvTile.MaxPixels + 1) * ConvTile.Columns];
        sums = (float*)(((nint)sums + ConvTile.AheadBytes - 1) & -ConvTile.AheadBytes);
        ConvTile.CodeNumbers numbers = default;
        if (codes.InTile) codes.Write(&numbers);
        arguments.Numbers = &numbers;

        // Sums that wait in y would be lost on a residual that lies there.
        int together = source.Stretches;
        if (count > 1 && epilogue.Residual != y)
            together = Math.Clamp(WeightFloats / (ConvTile.Columns * Math.Max(1, source.Steps)), 1, together);
        for (int panel = firstPanel; panel < lastPanel; panel++)
        {
            arguments.Bias = callBias == null ? conv.BiasOf(panel) : BiasOfCall(panel, edgeBias);
            arguments.Mask = (1L << conv.OutputsOf(panel)) - 1;
            for (int first = 0; first < source.Stretches; first += together)
            {
                arguments.Offsets = offsets + first;
                arguments.Stretches = Math.Min(together, source.Stretches - first);
                arguments.Weights =
                    conv.WeightsOf(panel) + ((nint)first * source.Steps * conv.Vectors(panel) * ConvTile.Lanes);
                bool fresh = first == 0 && panel == firstPanel;
                Tiles(panel, first > 0, first + together >= source.Stretches, fresh, arguments, tiles, count, sums);
            }
        }
    }

    private void CodesOfTile(ref ConvTile.Arguments arguments, DirectTile tile, int output)
    {
        arguments.Modes = (long)(codes.Sum.IsNone ? ConvTile.Modes.Codes : ConvTile.Modes.Codes | ConvTile.Modes.Added);
        (nint place, nint place2) = ((tile.Pixel * codes.Ldy) + output, (tile.Pixel2 * codes.Ldy) + output);
        arguments.RowY = arguments.RowResidual = codes.Ldy;
        arguments.Y = (float*)(codes.Codes + place);
        arguments.Y2 = (float*)(codes.Codes + place2);
        arguments.Scale = codes.Scale + output;
        if (codes.Sum.IsNone) return;
        arguments.Residual = (float*)(codes.ResidualCodes + place);
        arguments.Residual2 = (float*)(codes.ResidualCodes + place2);
    }

    // Tiles read whole vectors: a panel with fewer outputs takes a copy.
    private float* BiasOfCall(int panel, float* edge)
    {
        float* bias = callBias + conv.FirstOutput(panel);
        int outputs = conv.OutputsOf(panel);
        if (outputs == ConvTile.Columns) return bias;
        new ReadOnlySpan<float>(bias, outputs).CopyTo(new Span<float>(edge, outputs));
        return edge;
    }

    private void Tiles(
        int panel, bool continued, bool last, bool fresh, ConvTile.Arguments arguments, DirectTile* tiles, int count, float* sums)
    {
        Activation activation = last ? epilogue.Activation : Activation.None;
        arguments.Modes = (long)((continued ? ConvTile.Modes.Continue : 0)
            | (activation is Activation.Relu or Activation.Relu6 ? ConvTile.Modes.Relu : 0)
            | (activation is Activation.Relu6 ? ConvTile.Modes.Limit : 0));
        bool after = activation is Activation.Silu or Activation.Sigmoid;
        bool residual = last && epilogue.Residual != null, unfinished = last && !rest.IsEmpty;
        int output = conv.FirstOutput(panel), vectors = conv.Vectors(panel);
        nint channel = (nint)conv.GroupOf(panel) * conv.GroupChannels;
        nint steps = arguments.Stretches * arguments.Steps;
        byte* following = (byte*)(arguments.Weights + (steps * vectors * ConvTile.Lanes));
        for (int i = 0; i < count; i++)
        {
            DirectTile tile = tiles[i];
            arguments.X = tile.X + channel;
            arguments.X2 = tile.X2 + channel;
            arguments.Y = y + (tile.Pixel * ldy) + output;
            arguments.Y2 = y + (tile.Pixel2 * ldy) + output;

            // The last tiles fetch the weights that follow, the others, where x is met for the first time, their successor's
            // pixels.
            int slice = vectors - (count - i);
            arguments.Ahead = slice >= 0 ? following + (slice * steps * ConvTile.AheadBytes)
                : fresh && source.Flat && !source.Copies ? tile.X + ((nint)tile.Pixels * source.Ld)
                : arguments.Weights;
            if (residual)
            {
                arguments.Residual = epilogue.Residual + (tile.Pixel * epilogue.LdResidual) + output;
                arguments.Residual2 = epilogue.Residual + (tile.Pixel2 * epilogue.LdResidual) + output;
            }

            if (codes.InTile)
            {
                CodesOfTile(ref arguments, tile, output);
                conv.Tile.Run(tile.Pixels, vectors, &arguments);
                continue;
            }

            if (!codes.IsNone)
            {
                int half = (tile.Pixels + 1) / 2, outputs = conv.OutputsOf(panel);
                arguments.RowY = ConvTile.Columns * sizeof(float);
                arguments.Y = sums;
                arguments.Y2 = sums + (half * ConvTile.Columns);
                codes.Fetch(tile.Pixel, half, output);
                codes.Fetch(tile.Pixel2, tile.Pixels - half, output);
                conv.Tile.Run(tile.Pixels, vectors, &arguments);
                // Both groups at once, where they follow each other.
                int together = tile.Pixel2 == tile.Pixel + half ? tile.Pixels : half;
                codes.Finish((int*)sums, ConvTile.Columns, tile.Pixel, together, output, outputs);
                codes.Finish((int*)arguments.Y2, ConvTile.Columns, tile.Pixel2, tile.Pixels - together, output, outputs);
                continue;
            }

            conv.Tile.Run(tile.Pixels, vectors, &arguments);
            if (unfinished) rest.Apply(y, ldy, (int)tile.Pixel, output, tile.Pixels, conv.OutputsOf(panel));
            if (after)
            {
                int half = (tile.Pixels + 1) / 2, columns = conv.OutputsOf(panel);
                Activations.Apply(activation, arguments.Y, ldy, half, columns);
                Activations.Apply(activation, arguments.Y2, ldy, tile.Pixels - half, columns);
            }
        }
    }
}
