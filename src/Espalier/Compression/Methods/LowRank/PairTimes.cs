using Espalier.Benchmarking;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Compression.Methods.LowRank;

/// <summary>How long two layers take of what one takes, on this machine, by the kernels that sessions run.</summary>
internal static unsafe class PairTimes
{
    /// <summary>Two layers are worth it that take less than this share of the time of one: they also write and read what lies
    /// between them, which a busy memory makes dearer than it is here.</summary>
    public const double Worth = 0.9;

    private static readonly Rounds InTurn = new()
    {
        SettleTime = TimeSpan.FromSeconds(0.05), MinTime = TimeSpan.FromSeconds(0.05), Repeats = 8,
    };

    /// <summary>The fastest run of both as a share of the fastest of the whole layer, in turn.</summary>
    /// <param name="images">Of a call.</param>
    public static double Ratio(SplitLayer layer, int rank, int images)
    {
        using var scope = new Scope();
        Shape x = layer.Node.Op.Inputs[0].Shape, y = layer.Node.Op.Result;
        var (first, second) = layer.FactorShapes(rank);
        Action whole, pair;
        var owned = new List<IDisposable>();
        if (layer.Node.Op is Conv2dOp conv)
        {
            Padding p = conv.Padding;
            bool spatial = layer.Form == SplitForm.Spatial;
            var a = new Strides(conv.Stride.Rows, spatial ? 1 : conv.Stride.Columns);
            var b = new Strides(1, spatial ? conv.Stride.Columns : 1);
            Padding pa = spatial ? new Padding(p.Top, p.Bottom, 0, 0) : p, pb = spatial ? new Padding(0, 0, p.Left, p.Right)
                : default;
            Tensor from = Filled(images * x[2] * x[3] * x[1]), to = Filled(images * y[2] * y[3] * y[1]);
            Tensor middle = Filled(images * y[2] * (spatial ? x[3] : y[3]) * first[0]);
            whole = Convolution(layer.Weight.Shape, conv.Stride, p, x[2], x[3], from, to);
            Action one = Convolution(first, a, pa, x[2], x[3], from, middle);
            Action two = Convolution(second, b, pb, y[2], spatial ? x[3] : y[3], middle, to);
            pair = () =>
            {
                one();
                two();
            };

            Action Convolution(Shape w, Strides stride, Padding padding, int height, int width, Tensor input, Tensor output)
            {
                var shape = new ConvShape(w[2], w[3], stride, padding, conv.Dilation);
                int channels = w[1] * layer.Groups, outputs = w[0];
                PackedConv packed = PackedConv.Create(channels, outputs, layer.Groups, Filled((int)w.Length).Data, null, shape);
                owned.Add(packed);
                return () => packed.Run(images, height, width, input.Data, channels, output.Data, outputs, default);
            }
        }
        else
        {
            int rows = (int)(images * layer.Cost / ((double)layer.Inputs * layer.Outputs));
            Tensor from = Filled(rows * layer.Inputs), to = Filled(rows * layer.Outputs), middle = Filled(rows * rank);
            whole = Product(layer.Weight.Shape, from, to);
            Action one = Product(first, from, middle), two = Product(second, middle, to);
            pair = () =>
            {
                one();
                two();
            };

            Action Product(Shape w, Tensor input, Tensor output)
            {
                PackedLinear packed = PackedLinear.Create(Precision.Fp32, w[0], w[1], Filled((int)w.Length).Data);
                owned.Add(packed);
                return () => packed.Run(rows, input.Data, packed.Inputs, output.Data, packed.Outputs, default);
            }
        }
        IReadOnlyList<long[]> samples = InTurn.Measure(pair, whole);
        foreach (IDisposable packed in owned) packed.Dispose();
        return (double)samples[0].Min() / samples[1].Min();
    }

    /// <summary>Of the innermost scope; small enough for sums of them to stay numbers.</summary>
    private static Tensor Filled(int count)
    {
        var tensor = new Tensor(new Shape(Math.Max(1, count)));
        tensor.Fill(0.01f);
        return tensor;
    }
}
