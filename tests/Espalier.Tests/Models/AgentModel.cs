using Espalier.Compression;
using Espalier.Formats;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Onnx;
using Espalier.Tensors;

namespace Espalier.Tests.Models;

/// <summary>A transformer, as a module and as a graph that shares its weights, with agents in the graph or without: what sessions and
/// files are held against.</summary>
internal sealed class AgentModel : IDisposable
{
    /// <param name="layers">Blocks that agents act after; empty for no agents.</param>
    public AgentModel(VisionTransformer vit, int[] layers, ulong seed = 42)
    {
        (Vit, Model) = (vit, Model.FromModule(vit));
        vit.Training = false;
        if (layers.Length > 0) TokenAgents.Add(Model, layers, seed);
    }

    public AgentModel(Model model) => (Vit, Model) = (null!, model);

    /// <summary>The module; null of a model that was opened.</summary>
    public VisionTransformer Vit { get; }

    public Model Model { get; }

    public IReadOnlyList<TokenAgent> Agents => [.. TokenAgent.Find(Model.Graph).Select(a => a.Agent)];

    public float Threshold
    {
        get;
        set
        {
            field = value;
            Model.SetKeepRule(KeepRule.AtLeast(-value));
        }
    } = 0.5f;

    /// <summary>The graph with its agents, of the shapes that the weights have now.</summary>
    public Graph Trace()
    {
        Model.Graph.Refresh();
        return Model.Graph;
    }

    /// <summary>Parameters and, of no transformer, buffers.</summary>
    public IEnumerable<(string Name, Tensor Value)> StateDict() => Model.Graph.Weights.Values.Select(w => (w.Name, w.Tensor));

    /// <summary>Logits with every token kept.</summary>
    public Tensor Plain(Tensor images) => Model.Graph.Run(images, new RunContext(Keep: KeepRule.All));

    public PrunedPass Forward(Tensor images) => PrunedPass.Run(Model.Graph, images);

    public OnnxSummary WriteOnnx(string path, bool prune, Precision precision = Precision.Fp32, int opset = 17) =>
        Model.ExportOnnx(path, new OnnxOptions { Prune = prune, Precision = precision, Opset = opset });

    /// <summary>A file of format 1, as earlier versions wrote them.</summary>
    public void SaveFormat1(string path, string? dataset = null)
    {
        int[] layers = [.. new RowCosts(Model.Graph).KeepsAfter];
        FormatOne.Save(path, StateDict(), new ModelStructure
        {
            Config = layers.Length == 0 ? Vit.Config : Vit.Config with { PruneLayers = layers },
            Threshold = layers.Length == 0 ? null : Threshold, Dataset = dataset,
        });
    }

    public void Dispose() => Model.Dispose();
}

/// <summary>Writes files as versions before graphs did.</summary>
internal static class FormatOne
{
    public static void Save(string path, VisionTransformer vit, ModelStructure? structure = null) =>
        Save(path, vit.StateDict(), structure ?? new ModelStructure { Config = vit.Config });

    public static void Save(string path, Cnn net, CnnStructure? structure = null) =>
        Save(path, net.StateDict(), ((structure ?? new CnnStructure { Config = net.Config }) with { Config = net.Config }).ToJson());

    public static void Save(string path, IEnumerable<(string Name, Tensor Value)> tensors, ModelStructure structure) =>
        Save(path, tensors, structure.ToJson());

    private static void Save(string path, IEnumerable<(string Name, Tensor Value)> tensors, string block) =>
        Safetensors.Write(path, tensors.Select(t => new NamedArray(t.Name, t.Value.Shape.ToArray(), t.Value.ToArray())),
            new Dictionary<string, string> { [ModelStructure.MetadataKey] = block });
}

/// <summary>What a pass of a graph gives whose agents act.</summary>
/// <param name="Steps">The tokens that enter block 0, then those left after each agent.</param>
/// <param name="AgentInputs">What each agent saw.</param>
internal sealed record PrunedPass(Tensor Logits, IReadOnlyList<RowSet> Steps, IReadOnlyList<Tensor> AgentInputs)
{
    public static PrunedPass Run(Graph graph, Tensor images)
    {
        List<RowSet> steps = [];
        List<Tensor> inputs = [];
        GraphValue[] seen = [.. graph.Nodes.Where(n => n.Op is KeepRowsOp).Select(n => n.Operands[0]!)];
        Tensor logits = graph.Run([images], look: (value, t) =>
        {
            if (seen.Contains(value))
            {
                inputs.Add(Tensor.From(t.Shape, t.Span));
                inputs[^1].Rows = t.Rows;
                if (steps.Count == 0) steps.Add(t.Rows!);
            }
            if (value.Producer!.Op is KeepRowsOp) steps.Add(t.Rows!);
        })[0];
        return new PrunedPass(logits, steps, inputs);
    }

    public int[] TokensOf(int image) => [.. Steps.Select(s => s.Length(image))];

    public int[][] KeptOf(int image) => [.. Steps.Select(s => s.Tokens[s[image]..s[image + 1]].ToArray())];
}

internal static class AgentScores
{
    /// <summary>p(prune) of every token row.</summary>
    public static float[] PruneProbabilities(this TokenAgent agent, Tensor rows) => F.Neg(agent.Score(rows)).ToArray();
}
