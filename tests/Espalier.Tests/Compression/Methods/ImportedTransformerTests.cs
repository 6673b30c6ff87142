using Espalier.Compression;
using Espalier.Data;
using Espalier.Inference;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

/// <summary>Methods for transformers on ones that PyTorch wrote as ONNX: they find the blocks of any exporter's, and what comes
/// out is smaller in its file, in a session and in ONNX Runtime.</summary>
public sealed class ImportedTransformerTests : IDisposable
{
    /// <summary>What each is told besides the common options.</summary>
    private static readonly Dictionary<string, string> Methods = new()
    {
        ["vtp"] = "", ["vit-slim"] = "token-start=1", ["patch-slimming"] = "epsilon=1,step=4,tune=2",
        ["wdpruning"] = "initial=1,rate=0.3", ["spvit"] = "rate=0.3", ["nvit"] = "eta=0,every=1",
        ["dynamicvit"] = "keep=0.5,blocks=1",
    };

    private readonly string folder = Directory.CreateTempSubdirectory("espalier-imported-").FullName;

    public static TheoryData<string, string> Rows
    {
        get
        {
            var rows = new TheoryData<string, string>();
            foreach (string network in new[] { "timm", "torchvision", "huggingface" })
                foreach (string method in Methods.Keys) rows.Add(network, method);
            return rows;
        }
    }

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Theory, MemberData(nameof(Rows))]
    public void Becomes_smaller(string network, string name)
    {
        CompressionMethod method = CompressionMethods.Get(name);
        method = method with
        {
            TrainSteps = method.TrainsFirst ? 3 : 0, FineTuneSteps = 2, RankBatches = 1,
            Training = new TrainOptions { LearningRate = 1e-3f, BatchSize = 8, DataThreads = 0 },
        };
        foreach (string setting in Methods[name].Split(',', StringSplitOptions.RemoveEmptyEntries))
            method = method.Set(setting.Split('=')[0], setting.Split('=')[1]);
        bool aims = name is not ("patch-slimming" or "dynamicvit");
        if (aims) method = method with { TargetFlops = 0.7 };
        using Model model = Model.Open(Path.Combine(AppContext.BaseDirectory, "Goldens", "Onnx", $"{network}.onnx"));
        long before = model.Graph.CostPerImage.MultiplyAdds;
        var job = new CompressionJob(model, Data(), method);
        job.Run();
        Assert.InRange((double)model.Graph.CostPerImage.MultiplyAdds / before, 0.1, aims ? 0.7 : 0.95);
        Assert.All(job.Removals, r => Assert.InRange(r.Difference, 0, 1e-4f));

        using var scope = new Scope();
        Tensor images = job.Example(4);
        float[] expected = model.Graph.Run(images).ToArray(), fast = new float[expected.Length];
        Assert.All(expected, x => Assert.True(float.IsFinite(x)));
        string file = Path.Combine(folder, "small.safetensors"), onnx = Path.Combine(folder, "small.onnx");
        model.Save(file);
        using (Model read = Model.Open(file)) Assert.Equal(expected, read.Graph.Run(images).ToArray());
        using (Session session = Session.Open(file)) session.Run(images.Span, images.Shape[0], fast);
        Near(fast);
        model.ExportOnnx(onnx);
        Near(OnnxRuntime.Floats(OnnxRuntime.Run(onnx, images.Span, images.Shape[0])[model.Graph.Outputs[0].Name]));

        void Near(float[] actual) =>
            Assert.InRange(Removal.Difference(expected, actual), 0, 1e-4f * Math.Max(1, expected.Max(MathF.Abs)));
    }

    /// <summary>Coloured images of the first five classes, which these networks have.</summary>
    private static TrainingData Data()
    {
        DatasetPair sample = Datasets.OpenSample();
        ImagePipeline pipeline = ImagePipeline.Eval(16, 3);
        return new TrainingData(Of(sample.Train, 48), pipeline, Of(sample.Test, 16), pipeline);

        static Subset Of(IImageDataset all, int count) =>
            new(all, [.. Enumerable.Range(0, all.Count).Where(i => all.Label(i) < 5).Take(count)]);
    }
}
