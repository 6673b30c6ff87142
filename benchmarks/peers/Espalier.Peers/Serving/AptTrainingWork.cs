using Espalier.Compression.Apt;
using Espalier.Models;
using Espalier.Optim;
using Espalier.Tensors;

namespace Espalier.Peers;

/// <summary>APT's training steps, forward and backward of all streams and SGD. The learning rate is 0: the agents go on to drop
/// what they drop, and a step goes on to cost what it costs.</summary>
internal sealed class AptTrainingWork : IWork
{
    private const int Bisections = 10, ImagesToTryOn = 2;

    private readonly AptModel model;
    private readonly AptTask task;
    private readonly Sgd optimizer;
    private readonly float[] images;
    private readonly Shape shape;
    private readonly int[] labels;
    private double compute;

    /// <param name="share">Of the dense model's multiply-adds that the pruned pass should about do; 1 prunes nothing.</param>
    public AptTrainingWork(string weights, string input, int batch, double share)
    {
        LoadedModel loaded = ModelFile.Load(weights);
        model = loaded.Apt ?? throw new EspalierException($"{weights}: has no agents to train");
        VitConfig c = model.Vit.Config;
        shape = new Shape(batch, c.Channels, c.ImageSize, c.ImageSize);
        images = InputFile.Read(input, batch, c);
        labels = [.. Enumerable.Range(0, batch).Select(i => i % c.NumClasses)];
        model.Threshold = share < 1 ? ThresholdFor(share) : 1;
        task = new AptTask(model, loaded.Structure, new AptOptions());
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
        model.ClearGrads();
        compute = task.Step(Tensor.From(shape, images), labels, gradientScale: 1, new Rng(1))["compute"];
        optimizer.Step(0);
    }

    private float ThresholdFor(double share)
    {
        VitConfig c = model.Vit.Config;
        var few = new Shape(ImagesToTryOn, c.Channels, c.ImageSize, c.ImageSize);
        model.Training = false;
        float low = 0, high = 1;
        for (int i = 0; i < Bisections; i++)
        {
            using var scope = new Scope();
            model.Threshold = (low + high) / 2;
            AptOutput output = model.Forward(Tensor.From(few, images.AsSpan(0, (int)few.Length)));
            double done = Enumerable.Range(0, ImagesToTryOn).Average(b => (double)model.MultiplyAdds(output.TokensOf(b)));
            if (done > share * VitCost.Dense(c)) high = model.Threshold;
            else low = model.Threshold;
        }
        return (low + high) / 2;
    }
}
