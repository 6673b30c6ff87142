using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Optim;

/// <summary>
/// Parameters that an <see cref="Optimizer"/> treats alike. Names must be unique over all groups of an optimiser.
/// </summary>
public sealed class ParameterGroup(string name, IReadOnlyList<(string Name, Tensor Value)> parameters)
{
    public string Name { get; } = name;

    public IReadOnlyList<(string Name, Tensor Value)> Parameters { get; } = parameters;

    /// <summary>Times the learning rate of the step; 0 keeps the parameters where they are.</summary>
    public float LearningRateScale { get; set; } = 1;

    /// <summary>Instead of the optimiser's weight decay; null for the optimiser's.</summary>
    public float? WeightDecay { get; set; }

    /// <summary>All parameters of a module in one group.</summary>
    public static IReadOnlyList<ParameterGroup> Of(Module module) => [new("all", [.. module.NamedParameters()])];

    /// <summary>All parameters of a graph in one group.</summary>
    public static IReadOnlyList<ParameterGroup> Of(Graph graph) => [new("all", [.. graph.Parameters])];
}
