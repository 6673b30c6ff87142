using Espalier.Data;
using Espalier.Imaging;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Training;

/// <summary>A step that was stopped in between leaves no trace.</summary>
public sealed class StopInStepTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    /// <summary>Counts calls of the network's last layer and stops the run there, in forward or backward of some micro-batch.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(4)]
    public void It_is_done_again_bit_for_bit(int pictures)
    {
        Assert.True(Run("whole", resume: false, CancellationToken.None, int.MaxValue).Completed);
        TrainResult stopped = Run("parts", resume: false, default, 8 + pictures);
        Assert.False(stopped.Completed);
        Assert.Equal(1, stopped.Step);
        Assert.True(Run("parts", resume: true, CancellationToken.None, int.MaxValue).Completed);
        Assert.Equal(File.ReadAllBytes(Path.Combine(folder, "whole.safetensors")), File.ReadAllBytes(Path.Combine(folder, "parts.safetensors")));
    }

    [Fact]
    public void Ops_stop_where_an_interruption_is_open_and_nowhere_else()
    {
        using var cancel = new CancellationTokenSource();
        cancel.Cancel();
        using var scope = new Scope();
        Tensor x = Tensor.Full(new Shape(2), 1);
        using (Espalier.Tensors.Threading.Interruption.By(cancel.Token))
            Assert.Throws<OperationCanceledException>(() => F.Add(x, x));
        Assert.Equal(2, F.Add(x, x).ToArray()[0]);
    }

    private TrainResult Run(string name, bool resume, CancellationToken cancel, int stopAfter)
    {
        using var source = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        using Model model = Model.Create("resnet20", 3, 3, 16, seed: 1, width: 0.1);
        var pictures = new Counting(source, stopAfter);
        ImagePipeline pipeline = ImagePipeline.Eval(Preprocessing.Half(16, 3));
        var options = new TrainOptions
        {
            Steps = 3, BatchSize = 8, GradientAccumulationSteps = 4, EvalEvery = 0, Name = name, OutputDir = folder, Resume = resume,
            DataThreads = 0, FreezeSteps = 2, FreezeExcept = ["linear.*"],
        };
        return new Trainer(new ClassifierTask(model, new ClassifierTaskOptions()), new TrainingData(pictures, pipeline, pictures, pipeline), options).Run(null, source.Token);
    }

    /// <summary>Cancels while the picture of some number is read.</summary>
    private sealed class Counting(CancellationTokenSource cancel, int stopAfter) : IImageDataset
    {
        private int read;

        public string Name => "counting";

        public int Count => 24;

        public int Classes => 3;

        public IReadOnlyList<string> ClassNames => ["a", "b", "c"];

        public int Label(int index) => index % 3;

        public Image ReadImage(int index)
        {
            if (++read == stopAfter) cancel.Cancel();
            var image = new Image(16, 16, 3);
            new Random(index).NextBytes(image.Pixels);
            return image;
        }
    }
}
