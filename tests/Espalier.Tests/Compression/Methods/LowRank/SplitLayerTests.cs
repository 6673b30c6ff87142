using Espalier.Compression;
using Espalier.Compression.Methods.LowRank;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Methods;

public sealed class SplitLayerTests
{
    [Theory]
    [InlineData(64, 64, 3, SplitForm.Spatial, 96)]
    [InlineData(64, 128, 3, SplitForm.Spatial, 128)]
    [InlineData(128, 256, 3, SplitForm.Spatial, 256)]
    [InlineData(16, 32, 3, SplitForm.Spatial, 32)]
    [InlineData(512, 512, 3, SplitForm.Spatial, 768)]
    [InlineData(64, 64, 3, SplitForm.Channel, 58)]
    [InlineData(128, 256, 3, SplitForm.Channel, 209)]
    [InlineData(512, 512, 3, SplitForm.Channel, 461)]
    [InlineData(3, 16, 3, SplitForm.Channel, 10)]
    [InlineData(256, 256, 1, SplitForm.Spatial, 128)]
    public void The_rank_at_which_nothing_is_gained(int inputs, int outputs, int kernel, SplitForm form, int most) =>
        Assert.Equal(most, SplitNet.One(new Shape(outputs, inputs, kernel, kernel), 6, form).Layer.Ranks.Most);

    [Theory]
    [InlineData(768, 3072, 614)]
    [InlineData(768, 768, 384)]
    [InlineData(768, 2304, 576)]
    public void Of_a_linear_layer(int inputs, int outputs, int most) => Assert.Equal(most,
        SplitNet.Linear(inputs, outputs, _ => { }).Layer.Ranks.Most);

    [Fact]
    public void What_a_rank_costs()
    {
        SplitLayer conv = SplitNet.One(new Shape(64, 64, 3, 3), 224).Layer;
        Assert.Equal((19_267_584, 1_849_688_064), (conv.Ranks.CostAt(1), conv.Ranks.Cost));
        // With a stride the first half still makes every column.
        conv = SplitNet.One(new Shape(32, 16, 3, 3), 16, stride: 2).Layer;
        Assert.Equal(8 * 16 * 3 * 16 + 8 * 8 * 3 * 32, conv.Ranks.CostAt(1));

        Tensor w = Tensor.Unscoped(new Shape(64, 3, 3, 3));
        Graph graph = Graph.Trace(x => F.Conv2d(x, w, null, 1, 1), new Shape(2, 3, 224, 224), [("conv1_1.weight", w)]);
        SplitLayer first = SplitLayer.Find(graph, SplitForm.Spatial, new SelectionOptions()).Single();
        Assert.Equal((true, SplitForm.Channel, 19, 4_566_016), (first.IsFirst, first.Form, first.Ranks.Most,
            first.Ranks.CostAt(1)));
        Assert.Equal(86_754_304, 19L * first.Ranks.CostAt(1));
    }

    [Theory]
    [InlineData(SplitForm.Spatial, 1, 1)]
    [InlineData(SplitForm.Spatial, 2, 1)]
    [InlineData(SplitForm.Spatial, 1, 2)]
    [InlineData(SplitForm.Channel, 2, 1)]
    [InlineData(SplitForm.Channel, 1, 2)]
    public void All_ranks_are_the_layer(SplitForm form, int stride, int groups)
    {
        using var scope = new Scope();
        var (graph, layer) = SplitNet.One(new Shape(8, 6, 3, 3), 7, form, stride, groups);
        int all = Math.Min(layer.Rows, layer.MatrixColumns);
        Decomposition[] parts = [.. Enumerable.Range(0, groups)
            .Select(g => Decomposition.Of(layer.Matrix(g), layer.Rows, layer.MatrixColumns, all))];
        for (int g = 0; g < groups; g++)
            Assert.All(layer.Matrix(g).Zip(parts[g].Sum(all)), p => Assert.Equal(p.First, p.Second, 1e-12));
        Tensor images = Images(7);
        float[] before = graph.Run(images).ToArray();
        float largest = before.Max(MathF.Abs);
        var written = new float[layer.Weight.Shape.Length];
        new LayerSplit(layer, all, parts).WriteTruncated(written);
        Assert.InRange(Removal.Difference(written, layer.Weight.Tensor.Span), 0, 1e-6f);
        var (first, second) = layer.Factors(parts, all);
        Tensor x = graph.Between(graph.Inputs, [layer.Node.Operands[0]!]).Run(images);
        float[] after = F.Relu(layer.Forward(x, first, second, layer.Bias!.Tensor, null)).ToArray();
        Assert.InRange(Removal.Difference(before, after), 0, 2e-6f * largest);
        if (form == SplitForm.Channel || stride == 1 || groups > 1) return;

        // The stride for rows and columns in the first half, as the published networks have it.
        Tensor wrong = F.Conv2d(F.Conv2d(x, first, null, 2, new Padding(1, 1, 0, 0)), second, layer.Bias.Tensor, 1,
            new Padding(0, 0, 1, 1));
        Assert.True(Removal.Difference(before, F.Relu(wrong).ToArray()) > 0.1f * largest);
    }

    [Fact]
    public void A_kernel_of_one_rank_is_found()
    {
        var (_, layer) = SplitNet.One(new Shape(5, 4, 3, 3), 7);
        Span<float> w = layer.Weight.Tensor.Span;
        for (int i = 0; i < w.Length; i++)
            w[i] = (1 + i / 36) * (2f - i / 9 % 4) * (i / 3 % 3 + 0.5f) * (i % 3 - 3f);
        Decomposition one = Decomposition.Of(layer.Matrix(0), layer.Rows, layer.MatrixColumns, 1);
        Assert.All(layer.Matrix(0).Zip(one.Sum(1)), p => Assert.Equal(p.First, p.Second, 1e-11));
        Assert.InRange(one.Values[1], 0, 1e-11);
    }

    [Fact]
    public void The_pair_is_the_truncated_layer_and_has_its_names()
    {
        using var scope = new Scope();
        using Model model = Model.FromModule(new SplitNet());
        SplitLayer[] layers = SplitLayer.Find(model.Graph, SplitForm.Spatial, new SelectionOptions());
        Assert.Equal(["conv2", "conv3"], layers.Where(l => !l.IsFirst).Select(l => l.Name));
        Tensor images = TinyGolden.Images(1);
        RemovalReport report = LayerSplit.Apply(model, [.. layers.Where(l => !l.IsFirst)
            .Select(l => new LayerSplit(l, 3, Enc.Decompose(l)))], images);
        Assert.InRange(report.Difference, 0, 1e-6f);
        Assert.Equal([("conv2", 24, 3), ("conv3", 18, 3)], report.Summary.Groups);
        Assert.Equal(["conv1.weight", "conv2.bias", "head.weight", "head.bias", "conv2.0.weight", "conv2.1.weight",
            "conv3.0.weight", "conv3.1.weight"],
            model.Graph.Weights.Keys);
        Assert.Equal([new Shape(3, 8, 3, 1), new Shape(12, 3, 1, 3), new Shape(6, 6, 3, 1), new Shape(12, 3, 1, 3)],
            model.Graph.Weights.Values.TakeLast(4).Select(w => w.Shape));
        Assert.All(model.Graph.Weights.Values, w => Assert.True(w.Tensor.RequiresGrad));
    }

    /// <summary>W = I, variances 1 and 4, mean (3, 0): the mean hides the direction that varies most.</summary>
    [Theory]
    [InlineData(8, 8, true, 1, 1, 3)]
    [InlineData(8, 8, false, 0, 4, 0)]
    [InlineData(8, 12, true, 1, 1, 3)]
    [InlineData(8, 12, false, 0, 4, 0)]
    public void Means_go_into_the_bias(int inputs, int outputs, bool centred, int kept, double error, float shift)
    {
        using var scope = new Scope();
        var (_, layer) = SplitNet.Linear(inputs, outputs, w =>
        {
            for (int i = 0; i < 8; i++) w[i * 9] = 1;
        });
        var rows = Tensor.Zeros(new Shape(4, inputs));
        for (int r = 0; r < 4; r++) (rows.Span[r * inputs], rows.Span[r * inputs + 1]) =
            (3 + (r % 2 * 2 - 1), 2 * (r / 2 * 2 - 1));
        var moments = new Moments(inputs);
        moments.Add(rows);
        var aware = new AwareLayer(layer, moments, centred);
        LayerSplit one = aware.At(1);
        var weight = new float[inputs * outputs];
        one.WriteTruncated(weight);
        for (int i = 0; i < weight.Length; i++) Assert.Equal(i == kept * inputs + kept ? 1 : 0, weight[i], 1e-6f);
        Assert.Equal(centred ? shift : 0, one.Shift?[0] ?? 0, 1e-6f);
        Tensor made = F.Linear(rows, Tensor.From(new Shape(outputs, inputs), weight),
            Tensor.From(new Shape(outputs), one.Shift ?? new float[outputs]));
        Tensor whole = F.Linear(rows, layer.Weight.Tensor);
        Assert.Equal(error, F.Sum(F.Square(F.Sub(made, whole))).Item() / 4, 1e-5);
        double all = centred ? 5 : 14;
        Assert.Equal(1 - error / all, aware.Energy[0], 1e-9);
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(2, 1)]
    [InlineData(1, 2)]
    public void The_error_on_the_images_is_the_tail(int stride, int groups)
    {
        using var scope = new Scope();
        var (graph, layer) = SplitNet.One(new Shape(6 * groups, 3, 3, 3), 6, SplitForm.Channel, stride, groups);
        Tensor images = Images(6);
        foreach (bool centred in (bool[])[true, false])
        {
            AwareLayer aware = new LowRank { Centred = centred }.Look(graph, [layer], [images])[layer];
            LayerSplit split = aware.At(3);
            var (first, second) = layer.Factors(split.Groups, 3);
            Tensor[] run = graph.Between(graph.Inputs, [layer.Node.Operands[0]!, layer.Node.Output]).Run([images]);
            Tensor bias = split.Shift is null ? layer.Bias!.Tensor : F.Add(layer.Bias!.Tensor,
                Tensor.From(new Shape(split.Shift.Length), split.Shift));
            Tensor made = layer.Forward(run[0], first, second, bias, null);
            double rows = made.Length / made.Shape[1], error = F.Sum(F.Square(F.Sub(made, run[1]))).Item() / rows;
            double tail = split.Groups.Sum(g => g.Values.Skip(3).Sum(s => s * s));
            Assert.Equal(tail, error, 2e-5 * tail);
            Assert.Equal(1 - tail / split.Groups.Sum(g => g.Values.Sum(s => s * s)), aware.Energy[2], 1e-12);
        }
    }

    /// <summary>A column and a row of the kernel: activations have a say there, too, without an error in closed form.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Columns_and_rows_that_lose_little_on_the_images(int stride)
    {
        using var scope = new Scope();
        var (graph, layer) = SplitNet.One(new Shape(8, 6, 3, 3), 9, SplitForm.Spatial, stride);
        Tensor images = Images(9);
        Tensor[] run = graph.Between(graph.Inputs, [layer.Node.Operands[0]!, layer.Node.Output]).Run([images]);
        AwareLayer aware = new LowRank { Form = SplitForm.Spatial }.Look(graph, [layer], [images])[layer];
        AwareLayer plainMeans = new LowRank { Form = SplitForm.Spatial, Centred = false }.Look(graph, [layer], [images])[layer];
        for (int rank = 2; rank <= 6; rank += 2)
        {
            double plain = Error(new LayerSplit(layer, rank, Enc.Decompose(layer)));
            Assert.True(Error(aware.At(rank)) < 0.7 * plain, $"{rank}: {Error(aware.At(rank))}, by plain SVD {plain}");
            Assert.True(Error(plainMeans.At(rank)) < 0.7 * plain);
        }

        double Error(LayerSplit split)
        {
            var (first, second) = layer.Factors(split.Groups, split.Rank);
            Tensor bias = split.Shift is null ? layer.Bias!.Tensor
                : F.Add(layer.Bias!.Tensor, Tensor.From(new Shape(split.Shift.Length), split.Shift));
            return F.Sum(F.Square(F.Sub(layer.Forward(run[0], first, second, bias, null), run[1]))).Item();
        }
    }

    private static Tensor Images(int size)
    {
        var images = new Tensor(new Shape(4, 1, size, size));
        for (int i = 0; i < images.Length; i++) images.Span[i] = MathF.Sin(0.7f * i * i + i);
        return images;
    }
}
