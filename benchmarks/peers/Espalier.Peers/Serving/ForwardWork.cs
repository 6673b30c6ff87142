using Espalier.Tensors;

namespace Espalier.Peers;

/// <summary>Dense inference by the pass that training is made of.</summary>
internal sealed class ForwardWork : IWork
{
    private readonly Model model;
    private readonly Graph graph;
    private readonly float[] images;
    private readonly Shape shape;

    public ForwardWork(string weights, string input, int batch)
    {
        model = Model.Open(weights);
        graph = model.Graph.Prepared(training: false);
        shape = new Shape(batch, model.Channels, model.ImageSize, model.ImageSize);
        images = InputFile.Read(input, batch, model.Channels, model.ImageSize);
    }

    public void Call()
    {
        using var scope = new Scope();
        graph.Run(Tensor.From(shape, images));
    }

    public float[] Output()
    {
        using var scope = new Scope();
        return graph.Run(Tensor.From(shape, images)).ToArray();
    }

    public void Dispose() => model.Dispose();
}
