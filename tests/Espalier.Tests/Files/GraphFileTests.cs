using System.Text.Json.Nodes;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Files;

/// <summary>Graphs as JSON and back, and what is refused.</summary>
public class GraphFileTests
{
    [Fact]
    public void AGraphComesBackWithAllThatItSays()
    {
        using var net = new FileNetwork();
        Graph graph = net.Graph;
        string json = FileNetwork.ToJson(graph);
        Graph read = FileNetwork.Read(json, graph);
        Assert.Equal(json, FileNetwork.ToJson(read));
        Assert.Equal(graph.Nodes.Select(n => n.ToString()), read.Nodes.Select(n => n.ToString()));
        Assert.Equal(graph.Parameters.Select(p => p.Name).Order(), read.Parameters.Select(p => p.Name).Order());
        Assert.Equal(graph.CostPerImage, read.CostPerImage);
        foreach (var (old, now) in graph.Nodes.Zip(read.Nodes)) Assert.Equal(old.Op.Settings, now.Op.Settings);

        foreach (var (name, weight) in read.Weights)
            if (weight.Tensor.IsMeta) weight.Tensor.Exchange(graph.Weights[name].Tensor.Clone());
        foreach (int batch in new[] { 1, 3 })
        {
            using var scope = new Scope();
            Tensor images = FileNetwork.Images(batch);
            Assert.Equal(graph.Run(images).ToArray(), read.Run(images).ToArray());
        }
    }

    /// <summary>Settings keep their kind and all digits: a whole float does not become a number of things.</summary>
    [Fact]
    public void NumbersAreExact()
    {
        float[] hard = [0.1f, 1, -0f, 1e-45f, float.MaxValue, 16777217, float.PositiveInfinity, float.NegativeInfinity, 1f / 3];
        Graph graph = Graph.Trace(x =>
        {
            foreach (float f in hard) x = F.Clamp(F.Affine(x, f, -f), float.NegativeInfinity, f);
            return x;
        }, new Shape(2, 4), []);
        Graph read = FileNetwork.Read(FileNetwork.ToJson(graph), graph);
        foreach (var (old, now) in graph.Nodes.Zip(read.Nodes))
            foreach (var (a, b) in old.Op.Settings.Zip(now.Op.Settings))
                Assert.Equal(BitConverter.SingleToInt32Bits((float)a.Value), BitConverter.SingleToInt32Bits((float)b.Value));
        Graph broken = Graph.Trace(x => F.Affine(x, float.NaN, 0), new Shape(2, 4), []);
        Assert.Contains("not a number", Assert.Throws<ArgumentException>(() => FileNetwork.ToJson(broken)).Message);
    }

    [Theory]
    [InlineData("nodes.0.op", "\"Exec\"", "no op 'Exec'")]
    [InlineData("nodes.0.operands.0", "\"fc\"", "'conv' (Conv2d): reads 'fc', which is neither")]
    [InlineData("nodes.0.operands.0", "null", "'conv' (Conv2d)")]
    [InlineData("nodes.0.operands.1", "\"nowhere\"", "reads 'nowhere'")]
    [InlineData("nodes.0.name", "\"images\"", "two values are named 'images'")]
    [InlineData("nodes.0.name", "\"a\\nb\"", "'a?b'")]
    [InlineData("nodes.0.settings.stride", "0", "stride 0")]
    [InlineData("nodes.0.settings.stride", "1.0", "'stride' is of another kind")]
    [InlineData("nodes.0.settings.stride", "99999999999999999999", "no whole number")]
    [InlineData("nodes.0.settings.dilation", "2147483647", "'dilation' is too large")]
    [InlineData("nodes.0.settings.more", "1", "there is no setting 'more'")]
    [InlineData("nodes.0.more", "1", "unknown 'more'")]
    [InlineData("nodes.0.settings.dilation", "", "'dilation' is missing")]
    [InlineData("nodes.0.op", "", "a node has no 'op'")]
    [InlineData("nodes.0.operands", "[]", "0 operands")]
    [InlineData("inputs.0.shape", "[3,100000,100000]", "too large")]
    [InlineData("inputs.0.shape", "[3,0,8]", "empty")]
    [InlineData("inputs.0.shape", "[4,8,8]", "'conv' (Conv2d): x [2,4,8,8]")]
    [InlineData("outputs.0", "\"nowhere\"", "'nowhere' is nowhere made")]
    [InlineData("buffers.0", "\"nowhere\"", "buffer 'nowhere'")]
    [InlineData("nodes", "{}", "no list")]
    public void WhatDoesNotFitIsNamed(string place, string value, string says)
    {
        using var net = new FileNetwork();
        JsonNode json = JsonNode.Parse(FileNetwork.ToJson(net.Graph))!;
        Put(json, place.Split('.'), value);
        var e = Assert.Throws<EspalierException>(() => FileNetwork.Read(json.ToJsonString(), net.Graph));
        Assert.StartsWith("model.safetensors: its graph is damaged: ", e.Message, StringComparison.Ordinal);
        Assert.Contains(says, e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', e.Message);
    }

    [Fact]
    public void TheNumberOfImagesMustBeOpen()
    {
        Graph graph = Graph.Trace(x => F.Reshape(F.Slice(x, 1, 0, 3), 2, 3, 1), new Shape(2, 4), []);
        string json = FileNetwork.ToJson(graph);
        FileNetwork.Read(json, graph);
        string fixedToTwo = json.Replace("\"sizes\":[-1", "\"sizes\":[2", StringComparison.Ordinal);
        Assert.Contains("'reshape' (Reshape): is not for any number of images",
            Assert.Throws<EspalierException>(() => FileNetwork.Read(fixedToTwo, graph)).Message);
        Graph mixed = Graph.Trace(x => F.Mean(x, [0]), new Shape(2, 4), []);
        Assert.Contains("the output 'mean' is [4] for 3 images",
            Assert.Throws<EspalierException>(() => FileNetwork.Read(FileNetwork.ToJson(mixed), mixed)).Message);
    }

    /// <summary>Every convolutional preset, whole, with what its layers are made of.</summary>
    [Theory]
    [InlineData("cifar-vgg11")]
    [InlineData("resnet20")]
    [InlineData("densenet40")]
    [InlineData("preresnet20")]
    [InlineData("mobilenet_v2")]
    [InlineData("efficientnet_b0")]
    [InlineData("mobilenet_v3_small")]
    [InlineData("convnext_tiny")]
    [InlineData("regnet_y_400mf")]
    [InlineData("shufflenet_v2_x1_0")]
    [InlineData("xception")]
    public void PresetsComeBack(string name)
    {
        CnnConfig config = CnnPresets.Get(name) with { NumClasses = 5, Width = 0.125, ImageSize = 64 };
        using Cnn net = CnnPresets.Create(config);
        net.Training = false;
        Graph graph = Graph.Trace(net.Forward, new Shape(2, 3, 64, 64), net.StateDict());
        Graph read = FileNetwork.Read(FileNetwork.ToJson(graph), graph);
        Assert.Equal(graph.Nodes.Select(n => n.ToString()), read.Nodes.Select(n => n.ToString()));
        Assert.Equal(graph.CostPerImage, read.CostPerImage);
    }

    private static void Put(JsonNode json, ReadOnlySpan<string> place, string value)
    {
        foreach (string step in place[..^1]) json = json is JsonArray list ? list[int.Parse(step)]! : json[step]!;
        string last = place[^1];
        if (json is JsonArray array) array[int.Parse(last)] = JsonNode.Parse(value);
        else if (value.Length == 0) json.AsObject().Remove(last);
        else json[last] = JsonNode.Parse(value);
    }
}
