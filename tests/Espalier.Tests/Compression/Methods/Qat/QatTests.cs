using Espalier.Compression;
using Espalier.Compression.Methods.Qat;
using Espalier.Inference;
using Espalier.Quantization;
using Espalier.Tensors;
using Espalier.Tests.Imaging;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class QatTests : IDisposable
{
    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("resnet20", 16, 8, false, ObserverKind.MovingAverage, QatNorms.Unfolded)]
    [InlineData("resnet20", 16, 4, true, ObserverKind.Histogram, QatNorms.Unfolded)]
    [InlineData("cifar-vgg11", 16, 8, false, ObserverKind.MovingAverage, QatNorms.Folded)]
    [InlineData("mobilenet_v2", 32, 8, false, ObserverKind.MinMax, QatNorms.Unfolded)]
    [InlineData("preresnet20", 16, 8, false, ObserverKind.MovingAverage, QatNorms.Unfolded)]
    [InlineData(CompressionJobs.TinyVit, 8, 4, false, ObserverKind.MovingAverage, QatNorms.Unfolded)]
    public void FromTheNetworkToItsFileAndSession(string network, int size, int bits, bool perTensor, ObserverKind observer,
        QatNorms norms)
    {
        using Model model = CompressionJobs.Model(network, size);
        CompressionJob job = CompressionJobs.Job(model, new Qat
        {
            Bits = bits, PerTensor = perTensor, Observer = observer, Norms = norms, TrainSteps = 3, FineTuneSteps = 1,
                Images = 16,
            Weights = bits == 4 ? WeightRange.Histogram : WeightRange.MinMax,
                Training = new TrainOptions { LearningRate = 1e-3f },
        });
        long floats = BeforeAfter.Bytes(model);
        job.Run();
        Assert.Equal(2, job.Stages.Count);
        Assert.Single(model.Card.History);
        if (network != CompressionJobs.TinyVit) Assert.True(BeforeAfter.Bytes(model) < 0.85 * floats);
        string file = Path.Combine(folder.Path, "model.safetensors");
        model.Save(file);
        using Model read = Model.Open(file);
        using var scope = new Scope();
        Tensor images = job.Example(4);
        float[] logits = model.Graph.Run(images).ToArray(), fast = new float[logits.Length];
        Assert.Equal(logits, read.Graph.Run(images).ToArray());
        using Session session = read.Session();
        session.Run(images.Span, 4, fast);
        Assert.InRange(PostTrainingCosine(logits, fast), 0.999, 1.0001);
        // What follows in few bits is refused.
        Assert.Contains("before rounding", Assert.Throws<EspalierException>(CompressionJobs.Job(read,
            new Qat { TrainSteps = 1 }).Run).Message);
    }

    [Fact]
    public void TrainsWhatRoundingTakes()
    {
        using Model trained = CompressionJobs.Model("resnet20", 16), rounded = trained.Copy();
        CompressionJob job = CompressionJobs.Job(trained, new Qat
        {
            Bits = 3, TrainSteps = 60, Images = 32, Training = new TrainOptions { LearningRate = 0.05f },
        });
        PostTraining.Run(rounded.Graph, job.CalibrationBatches(32), new PostTrainingOptions { WeightBits = 3 });
        double before = CompressionJobs.Job(rounded, new CompressionOptions()).Evaluate().Scalars["loss"];
        job.Run();
        double after = job.Evaluate().Scalars["loss"];
        Assert.True(after < 0.95 * before, $"{before} -> {after}");
    }

    [Theory]
    [InlineData(ObserverKind.MovingAverage)]
    [InlineData(ObserverKind.Histogram)]
    public void GoesOnWhereItStopped(ObserverKind observer)
    {
        var (whole, resumed) = StoppedJob.Run(() => CompressionJobs.Model("resnet20", 16), new Qat
        {
            Observer = observer, TrainSteps = 4, FineTuneSteps = 2, Images = 16, Bits = 4,
        });
        Assert.Equal(whole.Keys, resumed.Keys);
        Assert.All(whole, w => Assert.Equal(w.Value, resumed[w.Key]));
    }

    [Fact]
    public void RefusesWhatCannotBeBeforeTheFirstStep()
    {
        Refused("TrainSteps is 0", new Qat());
        Refused("no target to reach", new Qat { TrainSteps = 1, TargetFlops = 0.5 });
        Refused("no layer matches 'nowhere'", new Qat { TrainSteps = 1, Selection = new() { Keep = ["nowhere"] } });
        Refused("Bits of Qat is 9", new Qat { TrainSteps = 1, Bits = 9 });
        Refused("could be rounded", new Qat { TrainSteps = 1, Selection = new() { Keep = ["*"] } });

        static void Refused(string message, Qat method)
        {
            using Model model = CompressionJobs.Model("cifar-vgg11", 16);
            CompressionJob job = CompressionJobs.Job(model, method);
            string said = Assert.Throws<EspalierException>(job.Run).Message;
            Assert.Contains(message, said);
            Assert.DoesNotContain('\n', said);
            Assert.Empty(job.Stages);
        }
    }

    internal static double PostTrainingCosine(float[] a, float[] b) =>
        System.Numerics.Tensors.TensorPrimitives.CosineSimilarity<float>(a, b);
}
