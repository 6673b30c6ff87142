using Espalier.Compression.Apt;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Inference;

/// <summary>The parameters of a module, as they are now.</summary>
internal sealed class ModuleWeights : IWeightSource
{
    private readonly Dictionary<string, Tensor> tensors;

    public ModuleWeights(VisionTransformer vit) : this(vit, vit.Config, [], 0.5f)
    {
    }

    public ModuleWeights(AptModel apt) : this(apt, apt.Vit.Config, apt.Layers, apt.Threshold)
    {
    }

    private ModuleWeights(Module module, VitConfig config, IReadOnlyList<int> layers, float threshold)
    {
        (AgentLayers, Threshold) = (layers, threshold);
        Structure = new ModelStructure { Config = config };
        tensors = module.StateDict().ToDictionary(p => p.Name, p => p.Value);
    }

    public ModelStructure Structure { get; }

    public IReadOnlyList<int> AgentLayers { get; }

    public float Threshold { get; }

    public void Read(string name, Span<float> destination) => tensors[name].Span.CopyTo(destination);
}
