using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors;

/// <summary>
/// The mean of an image's rows on each of its rows: x [rows, D] -> y [rows, D]. Tokens in front, such as the class token, get the
/// mean but have no part in it. An image without other rows has zeros. It is how a row is told of its whole image.
/// </summary>
public sealed unsafe class RowMeanOp : Op
{
    /// <summary>Values that make up for waking a thread.</summary>
    private const int WorthAThread = 1 << 16;

    private readonly Tensor x;
    private readonly RowSet rows;
    private readonly int width;

    /// <param name="prefix">Tokens below this number have no part in the mean.</param>
    public RowMeanOp(Tensor x, int prefix) : base(x)
    {
        rows = x.Rows ?? throw new ArgumentException($"RowMean: x {x.Shape} has no row set");
        if (x.Rank != 2) throw new ArgumentException($"RowMean: x {x.Shape} must be [rows, D]");
        if (prefix < 0) throw new ArgumentException($"RowMean: a prefix of {prefix} tokens");
        (this.x, Prefix, width) = (x, prefix, x.Shape[1]);
    }

    public override string Name => "RowMean";

    /// <summary>Tokens below this number have no part in the mean.</summary>
    public int Prefix { get; }

    public override Shape Result => x.Shape;

    public override Cost Cost => new(0, sizeof(float) * 2 * x.Length);

    protected override void Save(OpSettings settings) => settings.Set("prefix", Prefix);

    private protected override RowSet ResultRows() => rows;

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        Run(x.Data, y.Data, backward: false, accumulate: false);
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        Tensor dx = GradOf(x, out bool accumulate);
        Run(dy.Data, dx.Data, backward: true, accumulate);
    }

    public override void Flow(ChannelFlow flow) => flow.Same(Output, 1, x, 1);

    private void Run(float* from, float* to, bool backward, bool accumulate)
    {
        int grain = Math.Max(1, WorthAThread / Math.Max(1, rows.MaxLength * width));
        fixed (int* starts = rows.Starts, tokens = rows.Tokens)
            Workers.For(rows.Images, grain, new Job(from, to, starts, tokens, Prefix, width, backward, accumulate));
    }

    private readonly struct Job(float* x, float* y, int* starts, int* tokens, int prefix, int width, bool backward, bool accumulate)
        : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (int b = start; b < end; b++)
            {
                int first = starts[b], last = starts[b + 1], behind = RowMeans.Behind(tokens, first, last, prefix);
                // Back, all rows' gradients go to those that the mean was of.
                int from = backward ? first : behind, to = backward ? behind : first;
                if (backward && !accumulate) new Span<float>(y + (nint)first * width, (behind - first) * width).Clear();
                RowMeans.Image(x + (nint)from * width, width, last - from, width, y + (nint)to * width, width, last - to,
                    last - behind, accumulate);
            }
        }
    }
}

public static partial class F
{
    /// <inheritdoc cref="RowMeanOp"/>
    /// <param name="prefix">Tokens in front that have no part in the mean.</param>
    public static Tensor RowMean(Tensor x, int prefix = 1) => new RowMeanOp(x, prefix).Run();
}
