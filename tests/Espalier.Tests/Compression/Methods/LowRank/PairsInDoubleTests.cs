using Espalier.Compression.Methods.LowRank;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Methods;

/// <summary>Convolutions as two, computed by plain loops in double precision: rounding of the engine's floats hides
/// nothing.</summary>
public sealed class PairsInDoubleTests
{
    private const int Size = 9;

    /// <summary>A column and a row with all ranks are the convolution, where a stride is divided between them; given to the
    /// first alone, as the published code has it, they are not.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void All_ranks_of_a_column_and_a_row(int stride)
    {
        const int Inputs = 4, Outputs = 6;
        var (_, layer) = SplitNet.One(new Shape(Outputs, Inputs, 3, 3), Size, SplitForm.Spatial, stride);
        int all = Math.Min(layer.Rows, layer.MatrixColumns);
        Decomposition d = Decomposition.Of(layer.Matrix(0), layer.Rows, layer.MatrixColumns, all);
        var column = new Kernel([.. d.First.SelectMany(f => f)], all, Inputs, 3, 1);
        var row = new Kernel([.. from n in Enumerable.Range(0, Outputs) from k in Enumerable.Range(0, all)
                                 from j in Enumerable.Range(0, 3)
                                 select d.Second[k][j * Outputs + n]], Outputs, all, 1, 3);
        Map x = Images(Inputs), whole = Whole(layer, Inputs).On(x, stride, stride);
        Near(whole.Values, row.On(column.On(x, stride, 1), 1, stride).Values, 1e-12);
        if (stride == 1) return;
        double[] published = row.On(column.On(x, stride, stride), 1, 1).Values;
        Assert.Equal(whole.Values.Length, published.Length);
        Assert.True(whole.Values.Zip(published).Max(p => Math.Abs(p.First - p.Second)) > 0.1);
    }

    /// <summary>Three filters and a mix of them: the mean squared error on the images is Σ S² of the ranks left out.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void The_error_of_fewer_filters_is_the_tail(int stride)
    {
        const int Inputs = 3, Outputs = 6, Rank = 3;
        var (_, layer) = SplitNet.One(new Shape(Outputs, Inputs, 3, 3), Size, SplitForm.Channel, stride);
        Map x = Images(Inputs), y = Whole(layer, Inputs).On(x, stride, stride);
        int pixels = y.Values.Length / Outputs;
        double[] moments = [.. from a in Enumerable.Range(0, Outputs) from b in Enumerable.Range(0, Outputs)
                               select Enumerable.Range(0, pixels).Average(p => y.Values[a * pixels + p] * y.Values[b * pixels + p])];
        Decomposition d = Decomposition.OfOutputs(layer.Matrix(0), layer.Rows, Outputs, moments, Rank);
        var filters = new Kernel([.. d.First.SelectMany(f => f)], Rank, Inputs, 3, 3);
        var mix = new Kernel([.. from n in Enumerable.Range(0, Outputs) from k in Enumerable.Range(0, Rank) select d.Second[k][n]],
            Outputs, Rank, 1, 1);
        double[] pair = mix.On(filters.On(x, stride, stride), 1, 1).Values;
        double error = y.Values.Zip(pair).Sum(p => Math.Pow(p.First - p.Second, 2)) / pixels;
        double tail = d.Values.Skip(Rank).Sum(s => s * s);
        Assert.True(tail > 0.1);
        Assert.Equal(tail, error, 1e-12 * tail);
    }

    private static Kernel Whole(SplitLayer layer, int inputs) =>
        new([.. layer.Weight.Tensor.ToArray().Select(v => (double)v)], layer.Outputs, inputs, 3, 3);

    private static Map Images(int channels)
    {
        var rng = new Rng(3);
        return new Map([.. Enumerable.Range(0, channels * Size * Size).Select(_ => 2 * rng.NextDouble() - 1)], channels, Size, Size);
    }

    private static void Near(double[] expected, double[] actual, double most)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < actual.Length; i++) Assert.Equal(expected[i], actual[i], most);
    }

    /// <summary>[channels, height, width].</summary>
    private sealed record Map(double[] Values, int Channels, int Height, int Width)
    {
        public double At(int c, int h, int w) =>
            (uint)h < Height && (uint)w < Width ? Values[(c * Height + h) * Width + w] : 0;
    }

    /// <summary>[outputs, inputs, height, width], padded by half of it.</summary>
    private sealed record Kernel(double[] Values, int Outputs, int Inputs, int Height, int Width)
    {
        public Map On(Map x, int strideRows, int strideColumns)
        {
            int rows = (x.Height - 1) / strideRows + 1, columns = (x.Width - 1) / strideColumns + 1;
            Assert.Equal(Inputs, x.Channels);
            return new Map([.. from n in Enumerable.Range(0, Outputs) from h in Enumerable.Range(0, rows)
                               from w in Enumerable.Range(0, columns)
                               select Sum(n, h * strideRows, w * strideColumns)], Outputs, rows, columns);

            double Sum(int n, int top, int left)
            {
                double sum = 0;
                for (int at = 0; at < Inputs * Height * Width; at++)
                    sum += Values[n * Inputs * Height * Width + at]
                        * x.At(at / (Height * Width), top + at / Width % Height - Height / 2, left + at % Width - Width / 2);
                return sum;
            }
        }
    }
}
