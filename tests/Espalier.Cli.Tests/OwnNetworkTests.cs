using Espalier.Data;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Onnx;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Cli.Tests;

/// <summary>A network class and an op of somebody else's, who has the library's public names and nothing more.</summary>
public sealed class OwnNetworkTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void A_network_of_ones_own_trains_shrinks_exports_and_its_file_loads_with_nothing_else()
    {
        string whole = folder.File("mine.safetensors"), small = folder.File("small.safetensors"), onnx = folder.File("mine.onnx");
        DatasetPair data = Datasets.OpenSample();
        using Model model = Model.FromModule(new TwoPaths(), new ModelCard { Preprocessing = Preprocessing.Half(28, 1) });
        ImagePipeline pipeline = ImagePipeline.Eval(28, 1);
        var some = new Subset(data.Train, [.. Enumerable.Range(0, 64)]);
        var task = new ClassifierTask(model, new ClassifierTaskOptions());
        float[] before = model.Graph.Weights["stem.weight"].Tensor.ToArray();
        new Trainer(task, new TrainingData(some, pipeline, some, pipeline), new TrainOptions { Steps = 3, BatchSize = 16 }).Run();
        Assert.NotEqual(before, model.Graph.Weights["stem.weight"].Tensor.ToArray());
        task.SaveModel(whole);
        model.ExportOnnx(onnx);

        float[] images = Images(), expected = Logits(model, images);
        foreach (string file in new[] { whole, onnx })
        {
            using Model again = Model.Open(file);
            AssertNear(expected, Logits(again, images));
        }
        Tool.Run("compress", "l1", "--model", whole, "--ratio", "0.5", "--output", small).MustSucceed();
        using Model smaller = Model.Open(small);
        Assert.True(smaller.ParameterCount < 0.7 * model.ParameterCount);
        Outcome said = Tool.Run("infer", "--model", small, "--data", "fashion-mnist-sample", "--limit", "10").MustSucceed();
        Assert.Contains("mine, two paths", said.Out);
    }

    [Fact]
    public void An_elementwise_op_of_ones_own_has_values_and_gradients()
    {
        using var scope = new Scope();
        Tensor x = Tensor.From(new Shape(3), [-1f, 0f, 2f]);
        x.RequiresGrad = true;
        using var recording = new Recording();
        Tensor y = new XExpOp(x).Run();
        recording.Backward(F.Sum(y, 0));
        AssertNear([.. x.ToArray().Select(v => v * MathF.Exp(v))], y.ToArray());
        AssertNear([.. x.ToArray().Select(v => (1 + v) * MathF.Exp(v))], x.Grad!.ToArray());
    }

    private static float[] Images()
    {
        var rng = new Rng(5);
        return [.. Enumerable.Range(0, 3 * 28 * 28).Select(_ => rng.NextFloat(-1, 1))];
    }

    private static float[] Logits(Model model, float[] images)
    {
        using Session session = model.Session();
        var logits = new float[3 * session.NumClasses];
        session.Run(images, 3, logits);
        return logits;
    }

    private static void AssertNear(float[] expected, float[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], 1e-4f * (1 + expected.Max(MathF.Abs)));
    }

    /// <summary>A stem whose maps go two ways that are put beside one another: no preset of the library.</summary>
    private sealed class TwoPaths : ImageClassifier
    {
        private readonly Conv2d stem, left, right;
        private readonly BatchNorm2d norm;
        private readonly Linear head;

        public TwoPaths()
        {
            var rng = new Rng(3);
            stem = Child("stem", new Conv2d(1, 12, 3, ref rng, stride: 2, padding: 1));
            norm = Child("norm", new BatchNorm2d(12));
            left = Child("left", new Conv2d(12, 16, 3, ref rng, padding: 1));
            right = Child("right", new Conv2d(12, 16, 1, ref rng));
            head = Child("head", new Linear(32, 10, ref rng));
        }

        public override string Description => "mine, two paths";

        public override int Channels => 1;

        public override int ImageSize => 28;

        public override int NumClasses => 10;

        public override Tensor Forward(Tensor images)
        {
            Tensor x = F.Relu(norm.Forward(stem.Forward(images)));
            return head.Forward(F.GlobalAvgPool2d(F.Concat(1, F.Relu(left.Forward(x)), F.Sigmoid(right.Forward(x)))));
        }
    }

    /// <summary>y = x e^x.</summary>
    private sealed class XExpOp(Tensor x) : UnaryOp(x)
    {
        public override string Name => "XExp";

        protected override void Compute(ReadOnlySpan<float> x, Span<float> y)
        {
            for (int i = 0; i < x.Length; i++) y[i] = x[i] * MathF.Exp(x[i]);
        }

        protected override void Derivative(ReadOnlySpan<float> x, ReadOnlySpan<float> y, Span<float> d)
        {
            for (int i = 0; i < x.Length; i++) d[i] = y[i] + MathF.Exp(x[i]);
        }
    }
}
