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

    /// <summary>
    /// Two groups: weights (rank 2 and more), which decay, and biases, norms and other vectors, which do not. Empty groups are
    /// left out.
    /// </summary>
    public static IReadOnlyList<ParameterGroup> DecayWeightsOnly(Module module)
    {
        var all = module.NamedParameters().ToLookup(p => p.Value.Rank >= 2);
        ParameterGroup[] groups = [new("weights", [.. all[true]]), new("vectors", [.. all[false]]) { WeightDecay = 0 }];
        return Array.FindAll(groups, g => g.Parameters.Count > 0);
    }
}
