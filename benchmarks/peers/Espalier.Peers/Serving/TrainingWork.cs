using Espalier.Optim;
using Espalier.Tensors;

namespace Espalier.Peers;

/// <summary>Steps of plain training: forward, backward, SGD.</summary>
internal sealed class TrainingWork : IWork
{
    private readonly Model model;
    private readonly Graph graph;
    private readonly float[] images;
    private readonly Shape shape;
    private readonly int[] labels;
    private readonly Sgd optimizer;
    private readonly float learningRate;
    private readonly Precision precision;

    public TrainingWork(string weights, string input, int batch, float learningRate, Precision precision)
    {
        model = Model.Open(weights);
        graph = model.Graph.Prepared(training: true);
        shape = new Shape(batch, model.Channels, model.ImageSize, model.ImageSize);
        images = InputFile.Read(input, batch, model.Channels, model.ImageSize);
        labels = [.. Enumerable.Range(0, batch).Select(i => i % model.NumClasses)];
        optimizer = new Sgd(ParameterGroup.Of(model.Graph));
        (this.learningRate, this.precision) = (learningRate, precision);
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
        foreach (var (_, parameter) in optimizer.Parameters) parameter.ClearGrad();
        using var products = ProductPrecision.Of(precision);
        using var recording = new Recording();
        Tensor loss = F.CrossEntropy(graph.Run(Tensor.From(shape, images), new RunContext(Training: true)), labels);
        recording.Backward(loss);
        optimizer.Step(learningRate);
        return loss.Item();
    }
}
