using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Inference;

/// <summary>
/// The rows of each text's words, without those of the padding: a text of ten words takes the time of ten, whatever the longest
/// may have. See <see cref="EmbedTokensOp"/>.
/// </summary>
internal sealed unsafe class EmbedStep : Step
{
    private readonly Reading ids;
    private readonly Place from, to;
    private readonly RowAxis rows;
    private readonly NativeFloats table, positions;
    private readonly int longest, width, vocabulary;

    public EmbedStep(EmbedLayer layer, Place from, Place to)
    {
        (ids, this.from, this.to, rows) = (layer.Ids, from, to, layer.Output.Axis!);
        (longest, width, vocabulary) = (layer.Positions.Shape[0], layer.Positions.Shape[1], layer.Table.Shape[0]);
        (table, positions) = (Native(layer.Table), Native(layer.Positions));
    }

    public override long Bytes => sizeof(float) * (table.Length + positions.Length);

    public override void Run(Lane lane)
    {
        float* words = Scratch.Rent((nint)lane.Images * longest), y = to.In(lane);
        ids.CopyOut(lane, from, words);
        int* starts = lane.Starts(rows), tokens = lane.Tokens(rows);
        int next = 0;
        for (int b = 0; b < lane.Images; b++, words += longest)
        {
            starts[b] = next;
            int length = EmbedTokensOp.Length(new ReadOnlySpan<float>(words, longest));
            for (int t = 0; t < length; t++, next++, y += to.Stride)
            {
                tokens[next] = t;
                int word = EmbedTokensOp.Word(words[t], vocabulary);
                TensorPrimitives.Add(Row(table, word), Row(positions, t), new Span<float>(y, width));
            }
        }
        starts[lane.Images] = next;
    }

    public override void Dispose()
    {
        table.Dispose();
        positions.Dispose();
    }

    private ReadOnlySpan<float> Row(NativeFloats matrix, int row) => new(matrix.Data + (nint)row * width, width);

    private static NativeFloats Native(Weight weight)
    {
        var values = new NativeFloats(checked((int)weight.Shape.Length), cleared: false);
        weight.Read(new Span<float>(values.Data, (int)values.Length));
        return values;
    }
}
