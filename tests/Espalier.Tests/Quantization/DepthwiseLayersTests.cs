using Espalier.Quantization;

namespace Espalier.Tests.Quantization;

public sealed class DepthwiseLayersTests
{
    /// <summary>Groups of more than one channel are not depthwise.</summary>
    [Theory]
    [InlineData("mobilenet_v2", 32, 17)]
    [InlineData("regnet_y_400mf", 32, 0)]
    [InlineData("resnet20", 16, 0)]
    public void OnlyNetworksWithThemAreLost(string name, int size, int count)
    {
        using Model model = Model.Create(name, classes: 10, imageSize: size);
        Assert.Equal(count, DepthwiseLayers.Count(model.Graph));
        Assert.Equal(count > 0, DepthwiseLayers.AreLost(model.Graph, 0.949));
        Assert.False(DepthwiseLayers.AreLost(model.Graph, 0.95));
    }
}
