using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// Entries of each image in another order, some perhaps several times or not at all: y[n, j] = x[n, index[j]], the axes behind the
/// first being one; where the index is -1 y is a constant. It is what reflected borders, repeats, mirrored or thinned axes and
/// lists of places have in common. x [N, ..], index [M] -> y [N, sizes..] of M entries.
/// </summary>
public sealed unsafe class PickOp : Op
{
    private readonly Tensor x, index;
    private readonly int[] sizes, places;
    private readonly float value;
    private readonly int width;

    /// <param name="sizes">Extents of y behind the first axis.</param>
    /// <param name="value">Where the index is -1.</param>
    public PickOp(Tensor x, Tensor index, int[] sizes, float value = 0) : base(x, index)
    {
        if (x.Rank < 2 || index.Rank != 1 || x.Shape[0] == 0)
            throw new ArgumentException($"Pick: x {x.Shape} and index {index.Shape} must be [N, ..] and [M]");
        (this.x, this.index, this.sizes, this.value) = (x, index, sizes, value);
        width = checked((int)(x.Length / x.Shape[0]));
        if (new Shape(sizes).Length != index.Length)
            throw new ArgumentException($"Pick: an index {index.Shape} for [{string.Join(",", sizes)}]");
        places = new int[index.Length];
        for (int i = 0; i < places.Length; i++)
        {
            float place = index.Data[i];
            if (!(place >= -1 && place < width) || place != (int)place)
                throw new ArgumentException($"Pick: place {place} of {width}");
            places[i] = (int)place;
        }
    }

    public override string Name => "Pick";

    public override Shape Result => new([x.Shape[0], .. sizes]);

    public override Cost Cost => new(0, sizeof(float) * 2L * x.Shape[0] * places.Length);

    protected override void Save(OpSettings settings) => settings.Set("sizes", sizes).Set("value", value);

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        Rows.For(x.Shape[0], places.Length, new PickJob(this, x.Data, y.Data));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (!Wants(x)) return;
        Tensor dx = GradOf(x, out bool accumulate);
        if (!accumulate) dx.Fill(0);
        Rows.For(x.Shape[0], places.Length, new AddJob(this, dy.Data, dx.Data));
    }

    /// <summary>The list holds places: all entries must stay.</summary>
    public override void Flow(ChannelFlow flow)
    {
        for (int i = 1; i < x.Rank; i++) flow.Fix(x, i, "a list of places picks from them");
        for (int i = 1; i <= sizes.Length; i++) flow.Fix(Output, i, "a list of places picks them");
        flow.Fix(index, 0);
    }

    private readonly struct PickJob(PickOp op, float* x, float* y) : IRowJob
    {
        public void Run(long row)
        {
            float* from = x + row * op.width, to = y + row * op.places.Length;
            for (int i = 0; i < op.places.Length; i++) to[i] = op.places[i] < 0 ? op.value : from[op.places[i]];
        }
    }

    private readonly struct AddJob(PickOp op, float* dy, float* dx) : IRowJob
    {
        public void Run(long row)
        {
            float* from = dy + row * op.places.Length, to = dx + row * op.width;
            for (int i = 0; i < op.places.Length; i++) if (op.places[i] >= 0) to[op.places[i]] += from[i];
        }
    }
}

public static partial class F
{
    /// <inheritdoc cref="PickOp"/>
    public static Tensor Pick(Tensor x, Tensor index, int[] sizes, float value = 0) => new PickOp(x, index, sizes, value).Run();
}
