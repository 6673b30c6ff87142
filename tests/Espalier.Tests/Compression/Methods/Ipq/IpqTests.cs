using Espalier.Compression;
using Espalier.Compression.Methods.Ipq;
using Espalier.Formats;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Tests.Imaging;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class IpqTests : IDisposable
{
    private readonly TempFolder folder = new();

    private string File => Path.Combine(folder.Path, "model.safetensors");

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("cifar-vgg11", 16, IpqParts.Blocks, 0.35)]
    [InlineData("cifar-vgg11", 16, IpqParts.One, 1)]
    [InlineData("resnet20", 16, IpqParts.Blocks, 0.9)]
    [InlineData("mobilenet_v2", 32, IpqParts.Blocks, 0.7)]
    [InlineData(CompressionJobs.TinyVit, 8, IpqParts.Blocks, 1.3)]
    public void FromTheNetworkToItsFileAndSession(string network, int size, IpqParts parts, double most)
    {
        using Model model = CompressionJobs.Model(network, size);
        CompressionJob job = CompressionJobs.Job(model, new Ipq
        {
            Parts = parts, FineTuneSteps = 3, Linear = 4, Noise = 0.1, TrainSteps = 1,
            Training = new TrainOptions { LearningRate = 1e-3f },
        });
        long before = BeforeAfter.Bytes(model);
        double weights = 4.0 * model.Graph.ReadWeights().Sum(w => w.Shape.Length);
        job.Run();
        Assert.Contains(model.Graph.Nodes, n => n.Op is CodeBookOp);
        model.Save(File);
        Assert.InRange(new FileInfo(File).Length, 1, most * before);
        Assert.True(BeforeAfter.EntropyBytes(model) < weights);
        using Model read = Model.Open(File);
        using var scope = new Scope();
        Tensor images = job.Example(4);
        float[] logits = model.Graph.Run(images).ToArray(), fast = new float[logits.Length];
        Assert.Equal(logits, read.Graph.Run(images).ToArray());
        using (Session session = Session.Open(File)) session.Run(images.Span, 4, fast);
        Assert.InRange(Removal.Difference(logits, fast), 0, 1e-4f * Math.Max(1, logits.Max(MathF.Abs)));
        string onnx = Path.Combine(folder.Path, "model.onnx");
        model.ExportOnnx(onnx);
        using Model imported = Model.Open(onnx);
        Assert.InRange(Removal.Difference(logits, imported.Graph.Run(images).ToArray()), 0, 1e-4f * Math.Max(1,
            logits.Max(MathF.Abs)));
    }

    [Fact]
    public void CodesPastTheBookAndMissingBooksAreOneLine()
    {
        using Model model = CompressionJobs.Model("cifar-vgg11", 16);
        CompressionJobs.Job(model, new Ipq()).Run();
        model.Save(File);
        Checkpoint file = Safetensors.Read(File);
        string codes = file.Arrays.Keys.First(k => k.EndsWith(".codes", StringComparison.Ordinal));
        string book = codes.Replace(".codes", ".book", StringComparison.Ordinal);
        Assert.Contains("holds the code 255", Refused(a => a.Name == codes ? new NamedArray(a.Name, a.Shape, [255,
            .. a.Data[1..]]) : a));
        Assert.Contains("its code book has 1 entries", Refused(a => a.Name == book
            ? new NamedArray(a.Name, [1, a.Shape[1]], a.Data[..a.Shape[1]]) : a));
        Assert.Contains(book, Refused(a => a.Name == book ? null : a));

        string Refused(Func<NamedArray, NamedArray?> damage)
        {
            string damaged = Path.Combine(folder.Path, "damaged.safetensors");
            Safetensors.Write(damaged, file.Arrays.Values.Select(damage).OfType<NamedArray>().Select(a =>
                a.Name.EndsWith(".codes", StringComparison.Ordinal)
                ? new SafetensorsEntry(a.Name, ElementType.U8, a.Shape, a.Data.Select(v => (byte)v).ToArray())
                : SafetensorsEntry.FromFloats(a.Name, a.Shape, a.Data)), file.Metadata);
            string message = Assert.Throws<EspalierException>(() =>
            {
                using Model read = Model.Open(damaged);
                using var scope = new Scope();
                read.Graph.Run(Tensor.Zeros(new Shape(1, 1, 16, 16)));
            }).Message;
            Assert.DoesNotContain('\n', message);
            return message;
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(0.1)]
    public void GoesOnWhereItStopped(double noise)
    {
        var (whole, resumed) = StoppedJob.Run(() => CompressionJobs.Model("resnet20", 16), new Ipq
        {
            FineTuneSteps = 6, Stages = 2, Entries = 16, Noise = noise,
        });
        Assert.Equal(whole.Keys, resumed.Keys);
        Assert.All(whole, w => Assert.Equal(w.Value, resumed[w.Key]));
    }

    /// <summary>There are as many as asked for, be the layers divisible by that or not; for 0 each layer is one.</summary>
    [Theory]
    [InlineData(0, 12)]
    [InlineData(5, 5)]
    [InlineData(20, 12)]
    public void ThereAreAsManyStagesAsAskedFor(int wanted, int stages)
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        CompressionJob job = CompressionJobs.Job(model, new Ipq { Stages = wanted, Linear = 4, Entries = 8, FineTuneSteps = 12 });
        job.Run();
        Assert.Equal(12, model.Graph.Nodes.Count(n => n.Op is CodeBookOp));
        Assert.Equal(stages, job.Stages.Count);
        Assert.Equal($"codes 1 of {stages}", job.Stages[0].Name);
    }

    /// <summary>Which layers of a transformer come last, with norms of queries and keys and without.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void LayersOfAttentionAreKnownBehindNorms(bool norms)
    {
        using Model model = Model.FromModule(new VisionTransformer(TokenNets.Small, form: new VitForm { QueryKeyNorm = norms }));
        GraphNode[] linear = [.. model.Graph.Nodes.Where(n => n.Op is LinearOp)];
        string[] expected = [.. linear.Select(n => n.Operands[1]!.Name).Where(n =>
            n.Contains(".attn.", StringComparison.Ordinal))];
        Assert.Equal(16, expected.Length);
        Assert.Equal(expected, linear.Where(n => Ipq.IsOfAttention(model.Graph, n)).Select(n => n.Operands[1]!.Name));
    }

    [Fact]
    public void TrainedEntriesAreNearerThanThoseOfKMeans()
    {
        double plain = Loss(0), trained = Loss(60);
        Assert.True(trained < 0.95 * plain, $"{plain} -> {trained}");

        static double Loss(long steps)
        {
            using Model model = CompressionJobs.Model("resnet20", 16);
            CompressionJob job = CompressionJobs.Job(model, new Ipq
            {
                FineTuneSteps = steps, Entries = 16, Stages = 1, Training = new TrainOptions { LearningRate = 0.05f },
            });
            job.Run();
            return job.Evaluate().Scalars["loss"];
        }
    }

    [Fact]
    public void RefusesWhatCannotBe()
    {
        using Model model = CompressionJobs.Model("cifar-vgg11", 16);
        Assert.Contains("divided into blocks", Assert.Throws<EspalierException>(
            CompressionJobs.Job(model, new Ipq { Selection = new() { Keep = ["*"] } }).Run).Message);
        CompressionJobs.Job(model, new Ipq()).Run();
        Assert.Contains("before rounding", Assert.Throws<EspalierException>(CompressionJobs.Job(model, new Ipq()).Run).Message);
    }
}
