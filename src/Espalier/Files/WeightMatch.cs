using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Files;

/// <summary>Brings the tensors of a file and the weights of a graph together, by name.</summary>
internal static class WeightMatch
{
    /// <summary>
    /// Checks names and shapes; reads nothing. What a file may have beside the network: counters, an optimiser's state, what
    /// training on masked images leaves. Any other tensor says that the file is of another network.
    /// </summary>
    /// <param name="network">Its name, for messages.</param>
    /// <param name="newHead">Tensors of a head that is going to be replaced: they may be missing.</param>
    /// <exception cref="EspalierException">A tensor is missing, has another shape, or has no place in the network.</exception>
    public static LoadReport Check(Graph graph, ModelTensors file, string network, IReadOnlySet<string> newHead)
    {
        List<string> matched = [], missing = [], lacking = [];
        foreach (GraphValue weight in graph.ReadWeights())
        {
            if (!file.Shapes.TryGetValue(weight.Name, out int[]? stored))
            {
                // Constants of the code are in no published file. A list of channels that is missing names all of them.
                if (weight.Name == "constant" || weight.Name.StartsWith("constant.", StringComparison.Ordinal)) continue;
                bool may = newHead.Contains(weight.Name) || (!weight.Tensor.IsMeta && weight.Name.EndsWith(".index",
                    StringComparison.Ordinal));
                (may ? missing : lacking).Add(weight.Name);
            }
            else if (newHead.Contains(weight.Name) || stored.AsSpan().SequenceEqual(weight.Shape.ToArray())) matched.Add(weight.Name);
            else
                throw new EspalierException($"{file.Source}: {weight.Name} has shape [{string.Join(",", stored)}] in the file "
                    + $"but {weight.Shape} in {network}; name the network that it is of, or its true shape");
        }
        if (matched.Count == 0 && lacking.Count > 0)
            throw new EspalierException($"{file.Source}: no tensor has a name of {network}: it has "
                + $"{LoadReport.Shortened([.. file.Shapes.Keys])}, the network {LoadReport.Shortened(lacking)}; is it a checkpoint "
                + $"of another network{CnnNames.Hint(file.Shapes)}?");
        if (lacking.Count > 0)
            throw new EspalierException($"{file.Source}: lacks {lacking.Count} of the network's tensors "
                + $"({LoadReport.Shortened(lacking)}); is it a checkpoint of {network}?");
        string[] others = [.. file.Shapes.Keys.Where(name => !graph.Weights.ContainsKey(name))];
        bool transformer = graph.Nodes.Any(n => n.Op is AssembleTokensOp);
        string[] foreign = [.. others.Where(name => !IsHarmless(name, newHead.Count > 0) && !(transformer && IsBeside(name, file.Layout)))];
        return foreign.Length == 0 ? new LoadReport(matched, [], missing, others, []) : throw new EspalierException(
            $"{file.Source}: has {foreign.Length} tensors that have no place in {network} ({LoadReport.Shortened(foreign)}); "
            + "is it a checkpoint of another network?");
    }

    /// <summary>What transformers are trained with and need no more: MAE's decoder, SigLIP's tower of texts and its scale, a pooling
    /// head that another one took the place of.</summary>
    private static bool IsBeside(string name, VitLayout layout) => name.Split('.') is [var first, .., var last]
        ? first is "decoder" or "decoder_embed" or "decoder_blocks" or "decoder_norm" or "decoder_pred" or "text_model"
            || last == "position_ids" || (first == "pool" && layout == VitLayout.HuggingFaceSiglip)
        : name is "decoder_pos_embed" or "logit_scale" or "logit_bias";

    /// <param name="newHead">Whether the head is replaced, and with it the layer that Google's pre-trained models have before
    /// it.</param>
    private static bool IsHarmless(string name, bool newHead) => name.Split('.', '/') is [.., var last] parts
        && (last is "num_batches_tracked" or "n_averaged" or "mask_token" or "total_ops" or "total_params"
            || parts[0] is "optimizer" or "optimizer_state" or "optim" || parts is ["opt", "state", ..]
            || (newHead && parts[0] == "pre_logits")
            // What Hugging Face's models without a classifier have behind the class token.
            || parts is ["pooler", "dense", _] or ["vit" or "deit", "pooler", "dense", _]
            // Lists of channels under the names of Network Slimming's code: see PublishedLists.
            || last == "indexes");
}
