using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Peers;

/// <summary>Dense inference by the model's own forward pass, the one that training is made of.</summary>
internal sealed class ForwardWork : IWork
{
    private readonly LoadedModel model;
    private readonly float[] images;
    private readonly Shape shape;

    public ForwardWork(string weights, string input, int batch)
    {
        model = ModelFile.Load(weights);
        VitConfig c = model.Vit.Config;
        shape = new Shape(batch, c.Channels, c.ImageSize, c.ImageSize);
        images = InputFile.Read(input, batch, c);
    }

    public void Call()
    {
        using var scope = new Scope();
        model.Vit.Forward(Tensor.From(shape, images));
    }

    public float[] Output()
    {
        using var scope = new Scope();
        return model.Vit.Forward(Tensor.From(shape, images)).ToArray();
    }

    public void Dispose() => model.Dispose();
}
