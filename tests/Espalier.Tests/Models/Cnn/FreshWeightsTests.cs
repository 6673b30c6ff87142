using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Models;

public sealed class FreshWeightsTests
{
    [Fact]
    public void Everything_is_drawn_anew_and_keeps_its_shape()
    {
        CnnConfig config = CnnPresets.Get("resnet20") with { Channels = 1, ImageSize = 28, Width = 0.5 };
        using Cnn net = CnnPresets.Create(config, seed: 1), other = CnnPresets.Create(config, seed: 1);
        foreach (GraphValue weight in net.Trace().ReadWeights()) weight.Tensor.Fill(7);
        string[] shapes = [.. net.StateDict().Select(t => $"{t.Name} {t.Value.Shape}")];
        FreshWeights.Fill(net.Trace(), seed: 5);
        FreshWeights.Fill(other.Trace(), seed: 5);
        Assert.Equal(shapes, net.StateDict().Select(t => $"{t.Name} {t.Value.Shape}"));
        foreach (var (a, b) in net.StateDict().Zip(other.StateDict())) Assert.Equal(a.Value.ToArray(), b.Value.ToArray());
        foreach (Conv2d conv in net.Descendants<Conv2d>()) AssertNormal(conv.Weight, Math.Sqrt(2.0 / (conv.Weight.Shape[0] * 9)));
        foreach (BatchNorm2d norm in net.Descendants<BatchNorm2d>())
        {
            Assert.All(norm.Weight.ToArray(), w => Assert.Equal(1, w));
            Assert.All(norm.Bias.ToArray(), b => Assert.Equal(0, b));
            Assert.All(norm.RunningMean.ToArray(), m => Assert.Equal(0, m));
            Assert.All(norm.RunningVariance.ToArray(), v => Assert.Equal(1, v));
        }
        Linear head = Assert.Single(net.Descendants<Linear>());
        double most = 1 / Math.Sqrt(head.Weight.Shape[1]);
        AssertUniform(head.Weight, most);
        Assert.All(head.Bias!.ToArray(), b => Assert.InRange(b, -1.0001 * most, 1.0001 * most));
        Assert.True(head.Bias.ToArray().Distinct().Count() > 1);
    }

    /// <summary>Also what reaches its product in another form than the file's: kernels of patches, those of a hybrid stem.</summary>
    [Theory]
    [InlineData("vit-tiny-28")]
    [InlineData("vit-conv-28")]
    public void Of_a_transformer_nothing_stays(string name)
    {
        using Model model = Model.Create(name, classes: 10, imageSize: 28);
        foreach (GraphValue weight in model.Graph.ReadWeights()) weight.Tensor.Fill(7);
        FreshWeights.Fill(model.Graph, seed: 5);
        int convolutions = 0, matrices = 0;
        foreach (var (weight, value) in model.Graph.Parameters)
        {
            if (value.Rank == 1) Assert.All(value.ToArray(), x => Assert.True(x is 0 or 1, $"{weight}: {x}"));
            else if (value.Rank == 3)
            {
                // Positions, and the token in front of the patches.
                if (value.Length > 1000) AssertNormal(value, 0.02);
                Assert.All(value.ToArray(), x => Assert.InRange(x, -0.2f, 0.2f));
                Assert.True(value.ToArray().Distinct().Count() > 1, weight);
            }
            else if (weight.Contains("conv_stem", StringComparison.Ordinal))
            {
                AssertNormal(value, Math.Sqrt(2.0 / (value.Shape[0] * 9)));
                convolutions++;
            }
            else
            {
                // Kernels of patches are matrices of as many columns as they have values.
                int kernel = value.Rank == 4 ? value.Shape[2] * value.Shape[3] : 1;
                AssertUniform(value, Math.Sqrt(6.0 / (kernel * (value.Shape[0] + value.Shape[1]))));
                matrices++;
            }
        }
        Assert.Equal(name == "vit-conv-28" ? 3 : 0, convolutions);
        // Of each block six, the patches', and the head.
        Assert.Equal(6 * VitPresets.Get(name).NumLayers + 2, matrices);
    }

    /// <summary>Numbers around zero of this deviation.</summary>
    private static void AssertNormal(Tensor weight, double deviation)
    {
        float[] values = weight.ToArray();
        Assert.All(values, w => Assert.True(float.IsFinite(w)));
        Assert.InRange(values.Average(w => (double)w * w) / (deviation * deviation), 0.5, 1.6);
        Assert.True(values.Distinct().Count() > values.Length / 2);
    }

    /// <summary>Numbers from -<paramref name="most"/> to <paramref name="most"/>.</summary>
    private static void AssertUniform(Tensor weight, double most)
    {
        float[] values = weight.ToArray();
        Assert.InRange(values.Max(), 0.9 * most, 1.0001 * most);
        Assert.InRange(values.Min(), -1.0001 * most, -0.9 * most);
        Assert.True(values.Distinct().Count() > values.Length / 2);
    }
}
