using Espalier.Compression;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Imaging;
using Espalier.Training;

namespace Espalier.Tests.Compression;

/// <summary>What examples/03-make-smaller does, line by line.</summary>
public sealed class ModelCompressionTests
{
    [Theory]
    [InlineData("resnet20", 16, "net.onnx")]
    [InlineData(CompressionJobs.TinyVit, 8, "net.safetensors")]
    public void AModelFromAFileToASmallerOne(string network, int size, string file)
    {
        using var folder = new TempFolder();
        string start = Path.Combine(folder.Path, file), path = Path.Combine(folder.Path, "small.safetensors");
        using (Model net = CompressionJobs.Model(network, size))
        {
            net.Card = net.Card with { Classes = FashionMnist.ClassNames };
            if (file.EndsWith("onnx", StringComparison.Ordinal)) net.ExportOnnx(start);
            else net.Save(start);
        }
        using Model model = Model.Open(start);
        float[] before = Weights(model);
        TrainingData all = TrainingData.For(model, Datasets.OpenSample());
        Assert.Equal((1900, 100), (all.Train.Count, all.Evaluation.Count));
        TrainingData data = all with { Train = Subset.First(all.Train, 64), Evaluation = Subset.First(all.Evaluation, 32) };
        CompressedModel small = model.Compress(CompressionMethods.Get("taylor") with
        {
            TargetFlops = 0.6, FineTuneSteps = 2, RankBatches = 1, Training = new() { BatchSize = 16, DataThreads = 0 },
        }, data);
        using Model result = small.Model;
        Assert.Equal(before, Weights(model));
        Assert.Equal((model.ParameterCount, result.ParameterCount), (small.Before.Parameters, small.After.Parameters));
        Assert.True(result.ParameterCount < model.ParameterCount);
        Assert.InRange(small.After.MultiplyAdds, 1, 0.7 * small.Before.MultiplyAdds);
        Assert.Single(small.Job.Stages);
        Assert.Contains("taylor: ", Assert.Single(result.Card.History));
        Assert.Contains($"{model.ParameterCount} -> {result.ParameterCount}", small.ToString());

        result.Save(path);
        result.ExportOnnx(Path.Combine(folder.Path, "small.onnx"));
        using Model read = Model.Open(path), imported = Model.Open(Path.Combine(folder.Path, "small.onnx"));
        string picture = Path.Combine(Path.GetDirectoryName(ThisFile())!, "..", "..", "..", "examples", "images", "bag.png");
        Prediction p = result.Predict(picture);
        Assert.Contains(p.Label, FashionMnist.ClassNames);
        Assert.Equal(1, p.Probabilities.Sum(), 1e-4f);
        Assert.Equal((p.Label, p.Label), (read.Predict(picture).Label, imported.Predict(picture).Label));
    }

    [Fact]
    public void ACopyIsAnother()
    {
        using Model model = CompressionJobs.Model("shufflenet_v2_x1_0", 32), copy = model.Copy();
        using var scope = new Scope();
        Tensor images = Tensor.Full(new Shape(2, 1, 32, 32), 0.3f);
        float[] logits = model.Graph.Run(images).ToArray();
        Assert.Equal(logits, copy.Graph.Run(images).ToArray());
        copy.Graph.Parameters.First().Value.Fill(0);
        copy.ReplaceHead(3);
        Assert.Equal(logits, model.Graph.Run(images).ToArray());
    }

    private static float[] Weights(Model model) => [.. model.Graph.Parameters.SelectMany(p => p.Value.ToArray())];

    private static string ThisFile([System.Runtime.CompilerServices.CallerFilePath] string path = "") => path;
}
