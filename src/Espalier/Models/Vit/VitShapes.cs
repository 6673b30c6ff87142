using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>Names and shapes of a vision transformer's tensors, as its state dict has them, without building one.</summary>
internal static class VitShapes
{
    /// <param name="agents">APT's agents.</param>
    public static IEnumerable<(string Name, Shape Shape)> Of(VitConfig c, int agents)
    {
        int d = c.HiddenSize, p = c.PatchSize;
        const string embeddings = "transformer.embeddings.", encoder = "transformer.encoder.";
        yield return (embeddings + "patch_embeddings.weight", new Shape(d, c.PatchChannels, p, p));
        yield return (embeddings + "patch_embeddings.bias", new Shape(d));
        yield return (embeddings + "position_embeddings", new Shape(1, c.Tokens, d));
        yield return (embeddings + "cls_token", new Shape(1, 1, d));
        if (c.Distilled) yield return (embeddings + "dist_token", new Shape(1, 1, d));
        if (c.Stem != VitStem.Patches) foreach (var tensor in Stem(c)) yield return tensor;
        for (int i = 0; i < c.NumLayers; i++)
            foreach (var (name, shape) in Block(c)) yield return ($"{encoder}layer.{i}.{name}", shape);
        foreach (var tensor in Norm(encoder + "encoder_norm", d)) yield return tensor;
        foreach (var tensor in Linear("head", d, c.NumClasses)) yield return tensor;
        if (c.Distilled) foreach (var tensor in Linear("head_dist", d, c.NumClasses)) yield return tensor;
        for (int i = 0; i < agents; i++)
            foreach (var (name, shape) in Agent(d)) yield return ($"{encoder}clip_layer.{i}.{name}", shape);
    }

    private static IEnumerable<(string, Shape)> Block(VitConfig c)
    {
        int d = c.HiddenSize;
        return
        [
            .. Norm("attention_norm", d), .. Norm("ffn_norm", d), .. Linear("ffn.fc1", d, c.MlpDim), .. Linear("ffn.fc2", c.MlpDim, d),
            .. Linear("attn.query", d, d), .. Linear("attn.key", d, d), .. Linear("attn.value", d, d), .. Linear("attn.out", d, d),
        ];
    }

    private static IEnumerable<(string, Shape)> Agent(int d) =>
        [.. Linear("query", d, d), .. Linear("key", d, d), .. Linear("value", d, d), .. Linear("fc", 2 * d, 2)];

    private static IEnumerable<(string, Shape)> Norm(string name, int d) =>
        [(name + ".weight", new Shape(d)), (name + ".bias", new Shape(d))];

    private static IEnumerable<(string, Shape)> Linear(string name, int inputs, int outputs) =>
        [(name + ".weight", new Shape(outputs, inputs)), (name + ".bias", new Shape(outputs))];

    private static IEnumerable<(string, Shape)> Stem(VitConfig c)
    {
        using InitSkip _ = Init.Skip();
        var rng = new Rng(0);
        using HybridStem stem = VitEmbeddings.NewStem(c, ref rng);
        return [.. stem.StateDict().Select(p => (VitEmbeddings.StemPrefix + p.Name, p.Value.Shape))];
    }
}
