using System.Text;
using System.Text.Json.Nodes;
using Espalier.Formats;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tests.Models;
using Espalier.Tests.Models.Loading;

namespace Espalier.Tests.Files;

/// <summary>Files of format 2 that say something wrong, and heads that are replaced.</summary>
public sealed class ModelDamageTests : IDisposable
{
    private readonly string path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.safetensors");

    public void Dispose() => File.Delete(path);

    [Theory]
    [InlineData("format", "4", "is of format 4")]
    [InlineData("format", "\"2\"", "names no format")]
    [InlineData("card", "", "its block has no 'card'")]
    [InlineData("card", "null", "its card is null")]
    [InlineData("card", "{\"licence\":\"MIT\"}", "its card is damaged")]
    [InlineData("card", "{\"classes\":[\"a\"]}", "has 1 names for 3 classes")]
    [InlineData("card", "{\"classes\":[\"a\",\"b\",null]}", "a class without a name")]
    [InlineData("card", "{\"history\":[\"a\\nb\"]}", "a line of history")]
    [InlineData("card", "{\"preprocessing\":{\"resize\":8,\"fit\":\"square\"}}", "its card is damaged")]
    [InlineData("card", "{\"preprocessing\":{\"resize\":9,\"fit\":\"square\",\"filter\":\"bilinear\",\"colors\":\"grey\","
        + "\"divisor\":255,\"mean\":[0],\"std\":[1]}}", "gives 1 x 9 x 9, but the network takes 1 x 8 x 8")]
    [InlineData("graph", "", "its block has no 'graph'")]
    [InlineData("graph", "[]", "the graph is no object")]
    [InlineData("more", "1", "unknown 'more'")]
    public void ABlockThatIsWrongIsOneLine(string part, string value, string says)
    {
        Save();
        Rewrite(block =>
        {
            if (value.Length == 0) block.Remove(part);
            else block[part] = JsonNode.Parse(value);
        });
        Assert.Contains(says, Refused());
    }

    [Fact]
    public void TensorsThatDoNotFitAreOneLine()
    {
        Save();
        Checkpoint whole = CheckpointFile.Read(path);
        void Write(Func<NamedArray, NamedArray?> change, params NamedArray[] more) => Safetensors.Write(path,
            whole.Arrays.Values.Select(change).OfType<NamedArray>().Concat(more), whole.Metadata);

        Write(a => a.Name == "fc.weight" ? new NamedArray(a.Name, [2, 4], new float[8]) : a);
        Assert.Contains("node 'fc' (Linear)", Refused());
        Write(a => a.Name == "conv1.weight" ? null : a);
        Assert.Contains("reads 'conv1.weight', which is neither", Refused());
        Write(a => a.Name == "fc.bias" ? new NamedArray(a.Name, a.Shape, [1, float.NaN, 1]) : a);
        Assert.Contains("fc.bias holds NaN", Refused());
        Write(a => a, new NamedArray("other.weight", [1], [1]));
        Assert.Contains("1 tensors that have no place in vanilla (other.weight)", Refused());
        Write(a => a, new NamedArray("bn1.num_batches_tracked", [], [1]), new NamedArray("optimizer.step", [1], [1]));
        using Model model = Model.Open(path);
        Assert.Equal(["bn1.num_batches_tracked", "optimizer.step"], model.Report.Unexpected);
        Assert.EndsWith("; 2 unexpected: bn1.num_batches_tracked, optimizer.step", model.Report.ToString());

        byte[] bytes = File.ReadAllBytes(path);
        File.WriteAllBytes(path, bytes[..(bytes.Length / 2)]);
        Refused();
    }

    /// <summary>Files that are large for nothing: they are refused before they take memory. The smaller one is read, and refused as its
    /// images are not square.</summary>
    [Theory]
    [InlineData(1_000_000)]
    [InlineData(60_000)]
    public void AMillionNodesAreRefused(int nodes)
    {
        Save();
        var text = new StringBuilder("{\"format\":2,\"card\":{},\"graph\":{\"inputs\":[{\"name\":\"i\",\"shape\":[1,8,4]}],");
        text.Append("\"buffers\":[],\"nodes\":[");
        for (int i = 0; i < nodes; i++)
        {
            string before = i == 0 ? "i" : $"n{i - 1}";
            text.Append(i == 0 ? "" : ",").Append($"{{\"name\":\"n{i}\",\"op\":\"Relu\",\"operands\":[\"{before}\"]}}");
        }
        text.Append($"],\"outputs\":[\"n{nodes - 1}\"]}}}}");
        Safetensors.Write(path, Array.Empty<NamedArray>(), new Dictionary<string, string> { ["espalier"] = text.ToString() });
        text.Clear();
        long taken = GC.GetAllocatedBytesForCurrentThread();
        Refused();
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - taken, 0, 1L << 28);
    }

    /// <summary>A network of two heads whose mean counts, and one of a convolution whose maps are averaged.</summary>
    [Fact]
    public void HeadsAreReplacedWhateverMakesTheLogits()
    {
        using AgentModel deit = RandomModel.Create(RandomModel.Tiny with { Distilled = true });
        using Model model = Model.FromModule(deit.Vit);
        model.ReplaceHead(["a", "b"]);
        Assert.Equal((2, "b"), (model.NumClasses, model.Card.Classes![1]));
        Assert.Equal(new Shape(2, 24), model.Graph.Weights["head_dist.weight"].Shape);
        using var scope = new Scope();
        float[] logits = model.Graph.Run(RandomModel.Images(RandomModel.Tiny, 3)).ToArray();
        Assert.Equal(new float[6], logits);

        Save();
        using Model cnn = Model.Open(path, new OpenOptions { Classes = 4 });
        Assert.Equal((4, 3), (cnn.NumClasses, cnn.Graph.Weights.Count));
        Assert.Equal(["fc.weight", "fc.bias"], cnn.Report.Replaced);
        Assert.All(cnn.Graph.Weights["fc.weight"].Tensor.ToArray(), w => Assert.InRange(MathF.Abs(w), 0, 0.5f));
        cnn.Save(path);
        using Model again = Model.Open(path, new OpenOptions { Classes = 4 });
        Assert.Equal(cnn.Graph.Weights["fc.weight"].Tensor.ToArray(), again.Graph.Weights["fc.weight"].Tensor.ToArray());
        Assert.Empty(again.Report.Replaced);

        using Model norm = Model.FromModule(new NormLast());
        Assert.Contains("is no linear layer", Assert.Throws<EspalierException>(() => norm.ReplaceHead(4)).Message);
    }

    /// <summary>[B, 1, 8, 8] -> [B, 3]: a convolution, a mean, a linear layer.</summary>
    private void Save()
    {
        using Model model = Model.FromModule(new Small(), new ModelCard { Architecture = "vanilla" });
        model.Save(path);
    }

    private void Rewrite(Action<JsonObject> change)
    {
        Checkpoint whole = CheckpointFile.Read(path);
        JsonObject block = JsonNode.Parse(whole.Metadata["espalier"])!.AsObject();
        change(block);
        Safetensors.Write(path, whole.Arrays.Values, new Dictionary<string, string> { ["espalier"] = block.ToJsonString() });
    }

    private string Refused()
    {
        string message = Assert.Throws<EspalierException>(() => Model.Open(path).Dispose()).Message;
        Assert.StartsWith(path, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
        return message;
    }

    private class Small : ImageClassifier
    {
        private readonly Tensor conv, weight, bias;

        public Small()
        {
            conv = Parameter("conv1.weight", new Shape(4, 1, 3, 3));
            weight = Parameter("fc.weight", new Shape(3, 4));
            bias = Parameter("fc.bias", new Shape(3));
        }

        public override string Description => "small";

        public override int Channels => 1;

        public override int ImageSize => 8;

        public override int NumClasses => 3;

        public override Tensor Forward(Tensor images) =>
            F.Linear(F.GlobalAvgPool2d(F.Relu(F.Conv2d(images, conv))), weight, bias);
    }

    /// <summary>Its logits come of a norm.</summary>
    private sealed class NormLast : Small
    {
        private readonly Tensor scale, shift;

        public NormLast()
        {
            scale = Parameter("norm.weight", new Shape(3));
            shift = Parameter("norm.bias", new Shape(3));
        }

        public override Tensor Forward(Tensor images) => F.LayerNorm(base.Forward(images), scale, shift, 1e-5f);
    }
}
