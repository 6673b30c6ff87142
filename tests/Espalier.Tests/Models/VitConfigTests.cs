using Espalier.Models;

namespace Espalier.Tests.Models;

public sealed class VitConfigTests
{
    private const string Good = """
        {"imageSize":28,"patchSize":4,"channels":1,"hiddenSize":64,"mlpDim":128,"numHeads":4,"numLayers":12,"numClasses":10,"pruneLayers":[2,5,8]}
        """;

    [Fact]
    public void The_documented_form_is_read()
    {
        VitConfig c = VitConfig.Parse(Good, "c.json");
        Assert.Equal((28, 4, 1, 64, 128, 4, 12, 10), (c.ImageSize, c.PatchSize, c.Channels, c.HiddenSize, c.MlpDim, c.NumHeads, c.NumLayers, c.NumClasses));
        Assert.Equal([2, 5, 8], c.PruneLayers!);
        Assert.Equal(50, c.Tokens);
        Assert.Equal(c, VitConfig.Parse(c.ToJson(), "again"));
    }

    [Theory]
    [InlineData("\"patchSize\":4", "\"patchSize\":5", "multiple")]
    [InlineData("\"numHeads\":4", "\"numHeads\":5", "heads")]
    [InlineData("\"numLayers\":12", "\"numLayers\":0", "numLayers")]
    [InlineData("\"hiddenSize\":64", "\"hiddenSize\":99999999", "hiddenSize")]
    [InlineData("[2,5,8]", "[5,2]", "pruneLayers")]
    [InlineData("[2,5,8]", "[2,12]", "pruneLayers")]
    [InlineData("\"channels\":1", "\"chanels\":1", "chanels")]
    [InlineData("\"channels\":1", "\"channels\":\"one\"", "configuration")]
    [InlineData("{", "", "configuration")]
    [InlineData("\"hiddenSize\":64,", "", "hiddenSize")]
    [InlineData("\"channels\":1", "\"channels\":1,\"channels\":1", "channels")]
    [InlineData("\"imageSize\":28", "\"imageSize\":100,\"stem\":\"resNet50\"", "stem's 16 pixels")]
    [InlineData("\"channels\":1", "\"stem\":9", "stem")]
    [InlineData("\"imageSize\":28", "\"imageSize\":30,\"stem\":\"convolutions\"", "stem's 4 pixels")]
    public void A_wrong_one_is_refused_in_one_line_that_names_it(string from, string to, string says)
    {
        var e = Assert.Throws<EspalierException>(() => VitConfig.Parse(Good.Trim().Replace(from, to, StringComparison.Ordinal), "c.json"));
        Assert.StartsWith("c.json: ", e.Message, StringComparison.Ordinal);
        Assert.Contains(says, e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', e.Message);
    }

    [Fact]
    public void Sizes_left_out_have_their_usual_values()
    {
        VitConfig c = VitConfig.Parse("""{"hiddenSize":64,"mlpDim":128,"numHeads":4,"numLayers":2}""", "c.json");
        Assert.Equal(new VitConfig { HiddenSize = 64, MlpDim = 128, NumHeads = 4, NumLayers = 2 }, c);
        Assert.Equal((224, 16, 3, 1000), (c.ImageSize, c.PatchSize, c.Channels, c.NumClasses));
    }

    [Theory]
    [InlineData("null")]
    [InlineData("[1]")]
    [InlineData("7")]
    [InlineData("")]
    public void Other_JSON_is_refused_in_one_line(string json)
    {
        var e = Assert.Throws<EspalierException>(() => VitConfig.Parse(json, "c.json"));
        Assert.StartsWith("c.json: ", e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', e.Message);
    }

    [Theory]
    [InlineData(12, new[] { 2, 5, 8 })]
    [InlineData(24, new[] { 5, 11, 17 })]
    [InlineData(32, new[] { 7, 15, 23 })]
    [InlineData(2, new[] { 0 })]
    public void Pruning_layers_follow_the_depth(int layers, int[] expected) =>
        Assert.Equal(expected, (VitPresets.Get("ViT-B_16") with { NumLayers = layers }).DefaultPruneLayers());

    [Fact]
    public void An_unknown_name_is_answered_with_the_known_ones()
    {
        var e = Assert.Throws<EspalierException>(() => VitPresets.Get("ViT-X"));
        Assert.Contains("ViT-B_16", e.Message, StringComparison.Ordinal);
    }
}
