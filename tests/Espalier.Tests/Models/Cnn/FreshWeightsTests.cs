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
        foreach (Conv2d conv in net.Descendants<Conv2d>())
        {
            double expected = 2.0 / (conv.Weight.Shape[0] * 9), variance = conv.Weight.ToArray().Average(w => (double)w * w);
            Assert.InRange(variance / expected, 0.5, 1.6);
        }
        foreach (BatchNorm2d norm in net.Descendants<BatchNorm2d>())
        {
            Assert.All(norm.Weight.ToArray(), w => Assert.Equal(1, w));
            Assert.All(norm.Bias.ToArray(), b => Assert.Equal(0, b));
            Assert.All(norm.RunningMean.ToArray(), m => Assert.Equal(0, m));
            Assert.All(norm.RunningVariance.ToArray(), v => Assert.Equal(1, v));
        }
        Assert.All(net.Descendants<Linear>(), l => Assert.DoesNotContain(7f, l.Weight.ToArray()));
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
        Assert.All(model.Graph.Parameters, p => Assert.DoesNotContain(7f, p.Value.ToArray()));
    }
}
