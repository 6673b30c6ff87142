using Espalier.Models;
using Espalier.Optim;
using Espalier.Tensors;

namespace Espalier.Peers;

/// <summary>Steps of plain training: forward, backward, SGD.</summary>
internal sealed class TrainingWork : IWork
{
    private readonly LoadedModel model;
    private readonly Graph graph;
    private readonly float[] images;
    private readonly Shape shape;
    private readonly int[] labels;
    private readonly Sgd optimizer;
    private readonly float learningRate;

    public TrainingWork(string weights, string input, int batch, float learningRate)
    {
        model = ModelFile.Load(weights);
        model.Vit.Training = true;
        VitConfig c = model.Vit.Config;
        graph = model.Vit.Trace().Prepared(training: true);
        shape = new Shape(batch, c.Channels, c.ImageSize, c.ImageSize);
        images = InputFile.Read(input, batch, c);
        labels = [.. Enumerable.Range(0, batch).Select(i => i % c.NumClasses)];
        optimizer = new Sgd(ParameterGroup.Of(model.Vit));
        this.learningRate = learningRate;
    }

    public void Call() => Step();

    public float[] Output() => [Step()];

    public void Dispose()
    {
        optimizer.Dispose();
        model.Dispose();
    }

    private float Step()
    {
        using var scope = new Scope();
        model.Vit.ClearGrads();
        using var recording = new Recording();
        Tensor loss = F.CrossEntropy(graph.Run(Tensor.From(shape, images), new RunContext(Training: true)), labels);
        recording.Backward(loss);
        optimizer.Step(learningRate);
        return loss.Item();
    }
}
