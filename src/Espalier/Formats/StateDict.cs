namespace Espalier.Formats;

/// <summary>Finds the dictionary of tensors in what a training script saved.</summary>
internal static class StateDict
{
    private const int MaxDepth = 5, DeepestModule = 64, MostModules = 1 << 16;
    private const string ParallelPrefix = "module.";

    private static readonly string[] Wrappers =
        ["model", "state_dict", "net", "module", "model_state_dict", "network", "weights", "params", "checkpoint"];

    /// <summary>Where training scripts put the averages of the weights that they save beside the weights.</summary>
    private static readonly string[] Averages =
        ["model_ema", "state_dict_ema", "ema_state_dict", "model_ema_state_dict", "ema", "ema_model", "model_averaged"];

    /// <summary>The tensors by name, in the file's order.</summary>
    /// <param name="averaged">Whether the averages of the weights are wanted.</param>
    /// <param name="note">Which of the two they are, where the file has both.</param>
    public static List<(string Name, TorchTensor Tensor)> Find(object? top, bool averaged, out string? note)
    {
        note = null;
        if (top is PickleObject module) return OfModule(module);
        if (top is not PickleDictionary dictionary)
            throw new InvalidDataException("its top level is no dictionary; torch.save the model.state_dict() instead");
        string? averages = Averages.FirstOrDefault(k =>
            dictionary[k] is PickleDictionary inner && Unwrap(inner, 0, []) is not null);
        if (averaged && averages is null)
            throw new InvalidDataException("has no averages of its weights under a known name; leave AveragedWeights out");
        PickleDictionary? found = Unwrap(averaged ? (PickleDictionary)dictionary[averages!]! : dictionary, 0, []);
        if (averages is not null && found is not null)
            note = averaged ? $"the averages of the weights, '{averages}'"
                : Unwrap((PickleDictionary)dictionary[averages]!, 0, []) == found ? null
                : $"averages of the weights, '{averages}', are beside these and are not taken";
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

    /// <summary>The tensors of a module and its children under the names of its state dict; its class is never looked up.</summary>
    private static List<(string Name, TorchTensor Tensor)> OfModule(PickleObject top)
    {
        var tensors = new OrderedDictionary<string, TorchTensor>(StringComparer.Ordinal);
        var open = new Stack<(string Prefix, PickleObject Module, int Depth)>([("", top, 0)]);
        int left = MostModules;
        while (open.TryPop(out var at))
        {
            if (at.Depth == DeepestModule) throw Endless();
            List<KeyValuePair<object, object?>> attributes = Attributes(at.Module);
            // Children go on the stack the last first, so that names come in the order of the file.
            foreach ((object key, object? value) in attributes.AsEnumerable().Reverse())
            {
                if (key is not string name || value is not PickleObject child) continue;
                if (--left < 0) throw Endless();
                open.Push(($"{at.Prefix}{name}.", child, at.Depth + 1));
            }
            foreach ((object key, object? value) in attributes)
                if (key is string name && value is TorchTensor tensor && !tensors.TryAdd(at.Prefix + name, tensor))
                    throw new InvalidDataException($"two of its tensors are named {ReadGuard.Quote(at.Prefix + name)}");
        }
        return tensors.Count > 0 ? [.. tensors.Select(t => (t.Key, t.Value))]
            : throw new InvalidDataException($"holds an object of {ReadGuard.Quote(top.Global)} without a tensor in it; torch.save "
                + "the model.state_dict() instead");
    }

    private static InvalidDataException Endless() => new("holds modules that have no end; refused");

    /// <summary>What a module's object holds: of TorchScript its attributes; of a module that was saved whole its parameters,
    /// buffers and children, which are dictionaries of its state.</summary>
    private static List<KeyValuePair<object, object?>> Attributes(PickleObject module)
    {
        if (module.State is not PickleDictionary state) return [];
        PickleDictionary[] parts =
            [.. ((string[])["_parameters", "_buffers", "_modules"]).Select(k => state[k]).OfType<PickleDictionary>()];
        if (parts.Length == 0) return [.. state.Items];
        // What is not to be saved is in no state dict; a pickled set is its list of entries, or what is called with one.
        object? left = state["_non_persistent_buffers_set"];
        if (left is PickleObject { Arguments: [var only, ..] }) left = only;
        HashSet<object?> gone = left is IEnumerable<object?> names ? [.. names] : [];
        return [.. parts.SelectMany(p => p.Items).Where(item => !gone.Contains(item.Key))];
    }

    /// <summary>
    /// A wrapper's known key wins over tensors beside it, such as the best accuracy so far; failing those, the dictionary with
    /// most tensors is meant, if there is one.
    /// </summary>
    /// <param name="seen">Dictionaries that were looked at: each is once, however often it is named.</param>
    private static PickleDictionary? Unwrap(PickleDictionary dictionary, int depth, HashSet<PickleDictionary> seen)
    {
        if (depth == MaxDepth || !seen.Add(dictionary)) return null;
        foreach (string key in Wrappers)
            if (dictionary[key] is PickleDictionary inner && Unwrap(inner, depth + 1, seen) is { } found) return found;
        int most = Tensors(dictionary);
        PickleDictionary? best = most > 0 ? dictionary : null;
        foreach (PickleDictionary inner in dictionary.Items.Select(item => item.Value).OfType<PickleDictionary>())
        {
            if (Unwrap(inner, depth + 1, seen) is not { } found || Tensors(found) is var tensors && tensors < most) continue;
            // Of two that are alike nobody says which is meant.
            best = tensors > most ? found : best == dictionary ? best : null;
            most = tensors;
        }
        return best;
    }

    private static int Tensors(PickleDictionary dictionary) =>
        dictionary.Items.Count(item => item.Key is string && item.Value is TorchTensor);
}
