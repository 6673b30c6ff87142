using System.Globalization;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression.Methods.StochasticDepth;

/// <summary>
/// Lets the residual branches of a network take part in training at random, until it is disposed or folded. One draw is for a
/// step: then closed branches do not run at all, and micro-batches share what was drawn; or each image draws for itself. In evaluation
/// every branch runs, times its survival probability, or as it is where training divides by that.
/// </summary>
internal sealed class RandomDepth : ITrainingHook, IDisposable
{
    // Keeps the draws apart from those of mixing and dropout, which begin with the same numbers.
    private const ulong Stream = 0x64_65_70_74_68;

    private readonly StochasticDepth method;
    private readonly Graph graph;
    private readonly ResidualBranch[] branches;
    private readonly List<GraphNode>[] put;
    private readonly bool[] open;
    private bool inPlace = true;

    /// <exception cref="EspalierException">There are no residual blocks.</exception>
    public RandomDepth(Graph graph, StochasticDepth method)
    {
        (this.graph, this.method) = (graph, method);
        branches = [.. ResidualBranch.Find(graph)];
        if (branches.Length == 0) throw new EspalierException("the model has no residual blocks, so there is no depth to vary");
        Survival = SurvivalRules.Of(method.Rule, branches.Length, method.Survival);
        foreach (ResidualBranch branch in branches)
        {
            // A factor that goes into a weight that others read, too, would be in their results.
            if (BranchEnds.Of(graph, branch).Any(w => graph.Nodes.Sum(n => n.Inputs.Count(i => i.Tensor == w)) > 1) && !method.Inverted)
                throw new EspalierException($"the branch {branch.Name} ends with a weight that is read twice; set scaling=inverted, which "
                    + "changes no weight");
        }
        open = [.. branches.Select(_ => true)];
        using var edit = new GraphEdit(graph);
        put = [.. branches.Select((b, i) => Survival[i] < 1 ? Put(edit, b, (float)Survival[i]) : [])];
        edit.Commit();
    }

    /// <summary>The probability of each branch, in the order of the forward pass.</summary>
    public double[] Survival { get; }

    /// <summary>The same.</summary>
    public IReadOnlyList<ResidualBranch> Branches => branches;

    /// <summary>Which branches run until the next draw.</summary>
    internal bool[] Open => open;

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        ("SurvivalRule", method.Rule.ToString()),
        ("Survival", method.Survival.ToString(CultureInfo.InvariantCulture)),
        ("DepthGranularity", method.PerSample ? "sample" : "batch"),
        ("DepthScaling", method.Inverted ? "inverted" : "inference"),
        ("FreezeSkipped", method.FreezeSkipped ? "yes" : "no"),
    ];

    /// <inheritdoc/>
    public Graph ForStep(Graph network, in StepContext context)
    {
        if (method.PerSample) return network;
        if (context.BeginsStep)
        {
            Rng rng = context.StepRng, own = new(rng.NextULong(), Stream);
            for (int i = 0; i < open.Length; i++) open[i] = Survival[i] >= 1 || own.NextDouble() >= 1 - Survival[i];
        }
        return Drawn(network);
    }

    /// <summary>The network as it is trained until the next draw.</summary>
    internal Graph Drawn(Graph network)
    {
        Graph copy = network.Copy();
        var nodes = copy.Nodes.ToDictionary(n => n.Name);
        for (int i = 0; i < branches.Length; i++)
        {
            if (!nodes.TryGetValue(branches[i].Sum.Name, out GraphNode? sum)) continue;
            if (!open[i]) copy.Redirect(sum.Output, branches[i].ShortcutOf(sum), _ => true);
            // What evaluation multiplies with is left out.
            else foreach (GraphNode factor in put[i].Where(n => n.Op is AffineOp).Select(n => nodes[n.Name]))
                    copy.Redirect(factor.Output, factor.Operands[0]!, _ => true);
            if (!open[i] || !method.Inverted || Survival[i] >= 1) continue;
            float scale = (float)(1 / Survival[i]);
            foreach (GraphValue summand in branches[i].Summands)
                if (sum.Operands.FirstOrDefault(o => o?.Name == summand.Name) is { } value)
                    copy.Redirect(value, copy.Add([value], x => F.Mul(x[0], scale)), n => n == sum);
        }
        copy.Refresh();
        return copy;
    }

    /// <inheritdoc/>
    public void AfterBackward(in StepContext context)
    {
        if (method.FreezeSkipped) return;
        for (int i = 0; i < branches.Length; i++)
        {
            if (open[i]) continue;
            foreach (Tensor parameter in branches[i].Weights.Select(w => w.Tensor))
            {
                if (parameter is not { RequiresGrad: true, Grad: null }) continue;
                parameter.Grad = Tensor.Unscoped(parameter.Shape);
                parameter.Grad.Fill(0);
            }
        }
    }

    /// <summary>Multiplies branches by what evaluation multiplied them with for good: the plain sum is what it gave.</summary>
    public void Fold()
    {
        using var edit = new GraphEdit(graph);
        TakeOut(edit);
        for (int i = 0; i < branches.Length; i++)
        {
            if (method.Inverted || Survival[i] >= 1) continue;
            float factor = (float)Survival[i];
            foreach (Tensor tensor in BranchEnds.Of(graph, branches[i]))
                edit.Change(tensor, values => System.Numerics.Tensors.TensorPrimitives.Multiply(values, factor, values));
        }
        edit.Commit();
        inPlace = false;
    }

    public void Dispose()
    {
        if (!inPlace) return;
        using var edit = new GraphEdit(graph);
        TakeOut(edit);
        edit.Commit();
        inPlace = false;
    }

    /// <summary>Puts behind a branch what is drawn for each image, and what evaluation multiplies with.</summary>
    private List<GraphNode> Put(GraphEdit edit, ResidualBranch branch, float survival)
    {
        var nodes = new List<GraphNode>();
        if (method.PerSample && branch.Sum.Op is IndexAddOp)
            throw new EspalierException($"the branch {branch.Name} has lost channels, whose constants no image can leave out "
                + "alone; draw for each batch");
        foreach (GraphValue summand in branch.Summands)
        {
            GraphValue value = summand;
            if (method.PerSample)
                value = Add(value, x => F.DropImages(x, 1 - survival, new RandomStream(0), training: false));
            if (!method.Inverted) value = Add(value, x => F.Mul(x, survival));
            if (value != summand) edit.Take(branch.Sum, summand, value);
        }
        return nodes;

        GraphValue Add(GraphValue value, Func<Tensor, Tensor> op)
        {
            GraphValue made = graph.Add([value], x => op(x[0]));
            nodes.Add(made.Producer!);
            return made;
        }
    }

    private void TakeOut(GraphEdit edit)
    {
        foreach (GraphNode node in Enumerable.Reverse(put.SelectMany(p => p).ToArray())) edit.Take(node, node.Operands[0]!);
    }
}

/// <summary>How likely a residual block is to run in training, by its place.</summary>
public enum SurvivalRule
{
    /// <summary>1 - l/L · (1 - p) for l from 1 to L (eq. 4 of the paper): already the first block may be left out.</summary>
    Linear,

    /// <summary>p for all.</summary>
    Uniform,

    /// <summary>1 - i/(L - 1) · (1 - p) for i from 0, as transformers have it: the first block always runs.</summary>
    Ramp,
}

/// <summary>See <see cref="SurvivalRule"/>.</summary>
internal static class SurvivalRules
{
    /// <summary>The probability of each block.</summary>
    /// <param name="last">That of the last, p, in (0, 1].</param>
    public static double[] Of(SurvivalRule rule, int blocks, double last) =>
    [
        .. Enumerable.Range(0, blocks).Select(i => rule switch
        {
            SurvivalRule.Linear => 1 - (i + 1.0) / blocks * (1 - last),
            SurvivalRule.Ramp => 1 - (double)i / Math.Max(1, blocks - 1) * (1 - last),
            _ => last,
        }),
    ];
}
