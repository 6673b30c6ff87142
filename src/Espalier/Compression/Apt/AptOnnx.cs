using Espalier.Formats.Onnx;
using Espalier.Models.Onnx;

namespace Espalier.Compression.Apt;

/// <summary>
/// Writes the pruned pass of an <see cref="AptModel"/> over one image into a graph. Behind each agent Compress takes the rows
/// that stay, so that every runtime computes later blocks for them alone.
/// </summary>
internal sealed class AptOnnx(OnnxGraph graph, AptModel model, VitOnnx vit)
{
    private readonly int prefix = model.Vit.Config.PrefixTokens;

    /// <summary>images [1, C, S, S] -> the outputs "logits" [1, classes], "tokens" [agents] and "kept" [tokens left].</summary>
    public void Add(string images)
    {
        OnnxRows x = vit.Embed(images);
        string kept = graph.Integers("all_tokens", [.. Enumerable.Range(0, model.Vit.Config.Tokens).Select(t => (long)t)]);
        var counts = new List<string>();
        int last = model.Vit.Config.NumLayers - 1;
        for (int i = 0; i <= last; i++)
        {
            int agent = model.AgentAfter(i);
            x = vit.Block(i, x, prefixOnly: i == last && agent < 0);
            if (agent < 0) continue;
            string name = $"transformer.encoder.clip_layer.{agent}";
            string stays = Decide(name, model.Agents[agent], x.Name);
            x = new OnnxRows(Take(name + ".rows", x.Name, stays), -1);
            kept = Take(agent == model.Agents.Count - 1 ? "kept" : name + ".kept", kept, stays);
            counts.Add(graph.Node("Shape", name + ".count", [kept]));
        }
        graph.Node("Concat", "tokens", counts, OnnxAttribute.Int("axis", 0));
        vit.Classify(x);
    }

    /// <summary>Which rows stay: [rows] of true and false.</summary>
    private string Decide(string name, AptAgent agent, string rows)
    {
        AptAgent.Folded folded = agent.Fold();
        string start = graph.Integers("prefix.start", 0), end = graph.Integers("prefix.end", prefix);
        string one = graph.Integers("prefix.one", 1), most = graph.Integers("prefix.most", long.MaxValue);
        string classToken = graph.Node("Slice", name + ".class", [rows, start, one, start]);           // [1, D]
        string patches = graph.Node("Slice", name + ".patches", [rows, end, most, start]);             // [patches, D]

        string direction = graph.Node("Gemm", name + ".direction", [classToken,
            graph.Constant(OnnxTensor.Of(name + ".direction.weight", folded.Direction)),
            graph.Constant(OnnxTensor.Of(name + ".direction.bias", folded.DirectionBias))]);           // [1, D]
        string offset = graph.Node("Gemm", name + ".offset", [classToken,
            graph.Constant(OnnxTensor.Of(name + ".offset.weight", folded.Offset)),
            graph.Floats(name + ".offset.bias", [1], folded.OffsetBias)]);                             // [1, 1]
        string logits = graph.Node("Gemm", name + ".logits", [patches, direction, offset], OnnxAttribute.Int("transB", 1));
        string flat = graph.Node("Reshape", name + ".logits.flat", [logits, graph.Integers("shape.flat", -1)]);

        string p = graph.Node("Sigmoid", name + ".p_prune", [flat]);
        string drop = graph.Node("Greater", name + ".drop", [p, graph.Floats("threshold", [], model.Threshold)]);
        string keep = graph.Node("Not", name + ".keep", [drop]);
        byte[] always = [.. Enumerable.Repeat((byte)1, prefix)];
        string first = graph.Constant(new OnnxTensor("prefix.stays", OnnxType.Bool, [prefix], s => s.Write(always)));
        return graph.Node("Concat", name + ".stays", [first, keep], OnnxAttribute.Int("axis", 0));
    }

    private string Take(string name, string values, string stays) =>
        graph.Node("Compress", name, [values, stays], OnnxAttribute.Int("axis", 0));
}
