using Espalier.Compression;
using Espalier.Inference;
using Espalier.Onnx;
using Espalier.Quantization;
using Espalier.Tensors;
using Espalier.Tests.Formats.Onnx;
using Espalier.Tests.Imaging;
using Espalier.Tests.Quantization;

namespace Espalier.Tests.Compression;

/// <summary>A file of ONNX that says nothing of where it comes from, made smaller by each method that leaves shapes alone or splits
/// layers: the smaller file gives what the network in memory gave, in the graph, a session and ONNX Runtime.</summary>
public sealed class SmallerNumbersTests : IDisposable
{
    /// <summary>Rounding after training, which is no method of compression jobs.</summary>
    private const string Quantise = "quantize";

    private static readonly Dictionary<string, string> Methods = new()
    {
        ["enc"] = "timed=no", ["low-rank"] = "timed=no,images=32", ["qat"] = "images=16", ["quant-noise"] = "images=16",
        ["ipq"] = "entries=16,linear=4", [Quantise] = "",
    };

    private readonly TempFolder folder = new();

    public static TheoryData<string, string> Rows
    {
        get
        {
            var rows = new TheoryData<string, string>();
            foreach (string network in new[] { "cifar-vgg11", "vit-tiny-28" })
                foreach (string method in Methods.Keys) rows.Add(network, method);
            return rows;
        }
    }

    public void Dispose() => folder.Dispose();

    [Theory, MemberData(nameof(Rows))]
    public void FromOnnxToASmallerFile(string network, string name)
    {
        string onnx = Path.Combine(folder.Path, "any.onnx"), small = Path.Combine(folder.Path, "small.safetensors");
        string back = Path.Combine(folder.Path, "small.onnx");
        using (Model made = network.StartsWith("vit", StringComparison.Ordinal) ? PostTrainingTests.Create(network, 28)
            : CompressionJobs.Model(network)) OnnxFile.Write(onnx, made.Graph);
        using Model model = Model.Open(onnx);
        using var scope = new Scope();
        CompressionJob job = Job(model, name);
        Tensor images = job.Example(8);
        float[] whole = model.Graph.Run(images).ToArray();
        if (name == Quantise) PostTraining.Run(model.Graph, job.CalibrationBatches(16));
        else job.Run();

        float[] logits = model.Graph.Run(images).ToArray(), fast = new float[logits.Length];
        Assert.NotEqual(whole, logits);
        model.Save(small);
        Assert.InRange(new FileInfo(small).Length, 1, 0.85 * new FileInfo(onnx).Length);
        using Model read = Model.Open(small);
        Assert.Equal(logits, read.Graph.Run(images).ToArray());
        bool codes = QuantisedValue.Of(model.Graph).Any();
        Assert.Equal(name is Quantise or "qat" or "quant-noise", codes);
        using (Session session = Session.Open(small)) session.Run(images.Span, 8, fast);
        Near(fast);
        read.ExportOnnx(back);
        Near(OnnxRuntime.Floats(OnnxRuntime.Run(back, images.Span, 8)[model.Graph.Outputs[0].Name]));

        // A code beside the edge of two may be the other one where sums are added in another order.
        void Near(float[] actual)
        {
            if (codes) Assert.InRange(PostTrainingTests.Cosine(logits, actual), 0.999, 1.0001);
            else Assert.InRange(Removal.Difference(logits, actual), 0, 1e-4f * Math.Max(1, logits.Max(MathF.Abs)));
        }
    }

    private static CompressionJob Job(Model model, string name)
    {
        if (name == Quantise) return CompressionJobs.Job(model, new CompressionOptions());
        CompressionMethod method = CompressionMethods.Get(name) with
        {
            TrainSteps = name is "enc" or "low-rank" ? 0 : 3, FineTuneSteps = 2, Training = new() { LearningRate = 1e-3f },
        };
        foreach (string setting in Methods[name].Split(',')) method = method.Set(setting.Split('=')[0], setting.Split('=')[1]);
        return CompressionJobs.Job(model, method.TakesTarget ? method with { TargetFlops = 0.7 } : method);
    }
}
