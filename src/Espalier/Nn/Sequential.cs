using System.Globalization;
using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>
/// Layers one after another. A layer's name is its place, counted over functions without parameters as well, as in
/// <c>torch.nn.Sequential</c>: so published names fit.
/// </summary>
public sealed class Sequential : Module
{
    private readonly List<Func<Tensor, Tensor>> steps = [];

    /// <summary>How many layers there are.</summary>
    public int Count => steps.Count;

    /// <summary>Appends a module.</summary>
    public Sequential Add(Module module, Func<Tensor, Tensor> forward)
    {
        Child(steps.Count.ToString(CultureInfo.InvariantCulture), module);
        steps.Add(forward);
        return this;
    }

    /// <summary>Appends a function without parameters.</summary>
    public Sequential Add(Func<Tensor, Tensor> function)
    {
        steps.Add(function);
        return this;
    }

    public Tensor Forward(Tensor x)
    {
        foreach (Func<Tensor, Tensor> step in steps) x = step(x);
        return x;
    }
}
