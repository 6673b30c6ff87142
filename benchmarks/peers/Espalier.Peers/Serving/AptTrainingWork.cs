using Espalier.Compression.Methods.Apt;
using Espalier.Inference;
using Espalier.Optim;
using Espalier.Tensors;

namespace Espalier.Peers;

/// <summary>APT's training steps, forward and backward of all streams and SGD. The learning rate is 0: the agents go on to drop
/// what they drop, and a step goes on to cost what it costs.</summary>
internal sealed class AptTrainingWork : IWork
{
    private const int Bisections = 10, ImagesToTryOn = 2;

    private readonly Model model;
    private readonly AptTask task;
    private readonly Sgd optimizer;
    private readonly float[] images;
    private readonly Shape shape;
    private readonly int[] labels;
    private double compute;

    /// <param name="share">Of the dense model's multiply-adds that the pruned pass should about do; 1 prunes nothing.</param>
    public AptTrainingWork(string weights, string input, int batch, double share)
    {
        model = Model.Open(weights);
        shape = new Shape(batch, model.Channels, model.ImageSize, model.ImageSize);
        images = InputFile.Read(input, batch, model.Channels, model.ImageSize);
        labels = [.. Enumerable.Range(0, batch).Select(i => i % model.NumClasses)];
        task = new AptTask(model, new Apt()) { Threshold = share < 1 ? ThresholdFor(share) : 1 };
        optimizer = new Sgd(task.ParameterGroups);
    }

    public void Call() => Step();

    public float[] Output()
    {
        Step();
        return [(float)compute];
    }

    public void Dispose()
    {
        optimizer.Dispose();
        model.Dispose();
    }

    private void Step()
    {
        using var scope = new Scope();
        foreach (var (_, parameter) in optimizer.Parameters) parameter.ClearGrad();
        compute = task.Step(Tensor.From(shape, images), labels, gradientScale: 1, new Rng(1))["compute"];
        optimizer.Step(0);
    }

    private float ThresholdFor(double share)
    {
        using Session session = Session.Of(model);
        var logits = new float[ImagesToTryOn * session.NumClasses];
        var trace = new TokenTrace();
        float low = 0, high = 1;
        for (int i = 0; i < Bisections; i++)
        {
            float threshold = (low + high) / 2;
            session.Run(images.AsSpan(0, ImagesToTryOn * images.Length / labels.Length), ImagesToTryOn, logits,
                Pruning.Threshold(threshold), trace);
            double done = Enumerable.Range(0, ImagesToTryOn).Average(b => (double)session.MultiplyAdds(trace.Counts(b)));
            if (done > share * session.DenseMultiplyAdds) high = threshold;
            else low = threshold;
        }
        return (low + high) / 2;
    }
}
