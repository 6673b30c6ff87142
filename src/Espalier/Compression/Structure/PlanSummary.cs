using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>What a plan makes of a network, computed without cutting anything.</summary>
/// <param name="Groups">Channels of each group that the plan changes.</param>
/// <param name="Tensors">Shapes of each parameter and buffer that it changes.</param>
/// <param name="ParametersBefore">Trained values of the whole model.</param>
/// <param name="MultiplyAddsBefore">For one image of the example's size.</param>
public sealed record PlanSummary(
    IReadOnlyList<(string Name, int Before, int After)> Groups,
    IReadOnlyList<(string Name, Shape Before, Shape After)> Tensors,
    long ParametersBefore, long ParametersAfter, long MultiplyAddsBefore, long MultiplyAddsAfter)
{
    /// <summary>Of what goes without any plan for channels: what a model was, and what it is.</summary>
    internal static PlanSummary OfSizes(long parameters, long multiplyAdds, Model model) => new([], [], parameters,
        model.ParameterCount, multiplyAdds, model.Graph.CostPerImage.MultiplyAdds);

    /// <exception cref="EspalierException">The plan does not fit the network; see <see cref="RemovalPlan.Check"/>.</exception>
    public static PlanSummary Of(DependencyGraph graph, RemovalPlan plan)
    {
        plan.Check(graph);
        PlannedCuts cuts = new(graph, plan);
        (string Name, Shape Before, Shape After)[] tensors =
        [
            .. graph.State.Where(s => cuts.Touches(s.Value)).Select(s => (s.Name, s.Value.Shape, cuts.ShapeOf(s.Value))),
        ];
        Tensor[] parameters = [.. graph.State.Select(s => s.Value).Where(t => t.RequiresGrad)];
        return new PlanSummary(
            [.. graph.Groups.Where(g => plan.Channels.ContainsKey(g.Name))
                .Select(g => (g.Name, g.Count, g.Count - plan.Channels[g.Name].Length))],
            tensors, parameters.Sum(p => p.Length), parameters.Sum(p => cuts.ShapeOf(p).Length),
            graph.MultiplyAdds(), graph.MultiplyAdds(plan));
    }
}
