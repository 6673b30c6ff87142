using Espalier.Formats.Onnx;
using Espalier.Models.Onnx;
using Espalier.Tensors;

namespace Espalier.Compression.Apt;

/// <summary>
/// Writes the pruned pass of an <see cref="AptModel"/> over one image into a graph. Behind each agent Compress takes the tokens
/// that stay, so that every runtime computes later blocks for them alone.
/// </summary>
internal sealed class AptOnnx(OnnxGraph graph, AptModel model, VitOnnx vit)
{
    private readonly int prefix = model.Vit.Config.PrefixTokens;

    /// <summary>images [1, C, S, S] -> the outputs "logits" [1, classes], "tokens" [agents] and "kept" [tokens left].</summary>
    public void Add(string images)
    {
        string x = vit.Embed(images);
        string kept = graph.Integers("all_tokens", [.. Enumerable.Range(0, model.Vit.Config.Tokens).Select(t => (long)t)]);
        var counts = new List<string>();
        int last = model.Vit.Config.NumLayers - 1;
        for (int i = 0; i <= last; i++)
        {
            int agent = model.AgentAfter(i);
            x = vit.Block(i, x, prefixOnly: i == last && agent < 0);
            if (agent < 0) continue;
            string name = $"transformer.encoder.clip_layer.{agent}";
            string stays = Decide(name, model.Agents[agent], x);
            x = Take(name + ".rows", x, stays, axis: 1);
            kept = Take(agent == model.Agents.Count - 1 ? "kept" : name + ".kept", kept, stays, axis: 0);
            counts.Add(graph.Node("Shape", name + ".count", [kept]));
        }
        graph.Node("Concat", "tokens", counts, OnnxAttribute.Int("axis", 0));
        vit.Classify(x);
    }

    /// <summary>Which of the tokens x [1, T, D] stay: [T] of true and false.</summary>
    private string Decide(string name, AptAgent agent, string x)
    {
        AptAgent.Folded folded = agent.Fold();
        string start = graph.Integers("prefix.start", 0), end = graph.Integers("prefix.end", prefix);
        string one = graph.Integers("one.token", 1), most = graph.Integers("prefix.most", long.MaxValue);
        string classToken = graph.Node("Slice", name + ".class", [x, start, one, one]);                // [1, 1, D]
        string patches = graph.Node("Slice", name + ".patches", [x, end, most, one]);                  // [1, patches, D]

        string direction = Affine(name + ".direction", classToken, folded.Direction,
            OnnxTensor.Of(name + ".direction.bias", folded.DirectionBias));                            // [1, 1, D]
        string offset = Affine(name + ".offset", classToken, folded.Offset,
            OnnxTensor.Of(name + ".offset.bias", [1], [folded.OffsetBias]));                           // [1, 1, 1]
        string column = graph.Node("Transpose", name + ".column", [direction], OnnxAttribute.Ints("perm", 0, 2, 1));
        string matches = graph.Node("MatMul", name + ".matches", [patches, column]);                   // [1, patches, 1]
        string logits = graph.Node("Add", name + ".logits", [matches, offset]);
        string flat = graph.Node("Reshape", name + ".logits.flat", [logits, graph.Integers("shape.flat", -1)]);

        string p = graph.Node("Sigmoid", name + ".p_prune", [flat]);
        string drop = graph.Node("Greater", name + ".drop", [p, graph.Floats("threshold", [], model.Threshold)]);
        string keep = graph.Node("Not", name + ".keep", [drop]);
        byte[] always = [.. Enumerable.Repeat((byte)1, prefix)];
        string first = graph.Constant(new OnnxTensor("prefix.stays", OnnxType.Bool, [prefix], s => s.Write(always)));
        return graph.Node("Concat", name + ".stays", [first, keep], OnnxAttribute.Int("axis", 0));
    }

    private string Affine(string name, string x, Tensor weight, OnnxTensor bias)
    {
        string product = graph.Node("MatMul", name + ".product", [x, graph.Constant(OnnxTensor.Of(name + ".weight", weight))]);
        return graph.Node("Add", name, [product, graph.Constant(bias)]);
    }

    private string Take(string name, string values, string stays, int axis) =>
        graph.Node("Compress", name, [values, stays], OnnxAttribute.Int("axis", axis));
}
