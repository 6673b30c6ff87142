using Espalier.Models;

namespace Espalier.Inference;

/// <summary>The tensors of a checkpoint, checked for names and shapes and read when they are packed.</summary>
internal sealed class FileWeights : IWeightSource
{
    private readonly ModelTensors file;

    /// <exception cref="EspalierException">The file's tensors are not those of its shape, or of <paramref name="config"/>.</exception>
    public FileWeights(ModelTensors file, VitConfig? config)
    {
        this.file = file;
        (Structure, int[] layers) = ModelFile.Describe(file, config);
        AgentLayers = layers;
        StateLoader.Match(VitShapes.Of(Structure.Config, layers.Length), Structure.Config, file, _ => false, replaceHead: false);
    }

    public ModelStructure Structure { get; }

    public IReadOnlyList<int> AgentLayers { get; }

    public float Threshold => Structure.Threshold ?? 0.5f;

    public void Read(string name, Span<float> destination) => StateLoader.Read(file, name, Structure.Config, destination);
}
