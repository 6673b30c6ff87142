namespace Espalier.Formats;

/// <summary>Finds the dictionary of tensors in what a training script saved.</summary>
internal static class StateDict
{
    private const int MaxDepth = 3;
    private const string ParallelPrefix = "module.";

    private static readonly string[] Wrappers = ["model", "state_dict", "net", "module", "model_state_dict"];

    /// <summary>The tensors by name, in the file's order.</summary>
    public static List<(string Name, TorchTensor Tensor)> Find(object? top)
    {
        if (top is not PickleDictionary dictionary)
            throw new InvalidDataException("its top level is no dictionary; torch.save the model.state_dict() instead");
        PickleDictionary? found = Unwrap(dictionary, 0);
        if (found is null)
        {
            string keys = string.Join(", ", dictionary.Items.Take(8).Select(item => ReadGuard.Quote($"{item.Key}")));
            throw new InvalidDataException(
                $"holds no state dict; the keys at its top level are {(keys.Length == 0 ? "none" : keys)}");
        }
        List<(string Name, TorchTensor Tensor)> tensors = [];
        foreach ((object key, object? value) in found.Items)
            if (key is string name && value is TorchTensor tensor) tensors.Add((name, tensor));
        bool parallel = tensors.All(t => t.Name.StartsWith(ParallelPrefix, StringComparison.Ordinal));
        return parallel ? [.. tensors.Select(t => (t.Name[ParallelPrefix.Length..], t.Tensor))] : tensors;
    }

    /// <summary>
    /// A wrapper's known key wins over tensors beside it; failing those, the only dictionary of tensors is meant.
    /// </summary>
    private static PickleDictionary? Unwrap(PickleDictionary dictionary, int depth)
    {
        if (depth == MaxDepth) return null;    // also ends a dictionary that contains itself
        foreach (string key in Wrappers)
            if (dictionary[key] is PickleDictionary inner && Unwrap(inner, depth + 1) is { } found) return found;
        if (HasTensors(dictionary)) return dictionary;
        PickleDictionary[] candidates =
            [.. dictionary.Items.Select(item => item.Value).OfType<PickleDictionary>().Where(HasTensors).Take(2)];
        return candidates.Length == 1 ? candidates[0] : null;
    }

    private static bool HasTensors(PickleDictionary dictionary) =>
        dictionary.Items.Any(item => item.Key is string && item.Value is TorchTensor);
}
