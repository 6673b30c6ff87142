namespace Espalier.Models;

/// <summary>
/// Brings a checkpoint to the names used here: takes off what training scripts put in front of names, and knows the layouts of
/// vision transformers: Google's .npz files, timm's and DeiT's, torchvision's and Hugging Face's state dicts.
/// </summary>
internal static class PublishedNames
{
    /// <summary>What stands in front of a network's own names when it was saved as a part of something: by DataParallel, by
    /// torch.compile, by Lightning, as somebody's attribute.</summary>
    private static readonly string[] Wrappers = ["module.", "_orig_mod.", "model.", "backbone.", "net."];

    /// <summary>The same, but networks' own names begin so as well, so that all of a file's names must.</summary>
    private static readonly string[] OwnToo = ["encoder.", "network.", "student.", "teacher."];

    /// <summary>The tensors of a file that is not of Google's layout, under the names used here. It takes the file over.</summary>
    /// <exception cref="EspalierException">A tensor has a shape that its name rules out, or two stand for the same.</exception>
    public static ModelTensors ToModelNames(ModelTensors file)
    {
        if (file.Metadata.ContainsKey(ModelStructure.MetadataKey)) return file;
        string prefix = PrefixOf([.. file.Shapes.Keys]);
        var names = new OrderedDictionary<string, string>(StringComparer.Ordinal);
        foreach (string stored in file.Shapes.Keys)
            if (!names.TryAdd(Without(prefix, stored), stored))
                throw new EspalierException($"{file.Source}: two arrays both stand for {Without(prefix, stored)}");
        return VitNames.Map(file, names);
    }

    /// <summary>Whether these are the names of Google's layout.</summary>
    public static bool IsGoogle(IEnumerable<string> names) =>
        names.Any(k => k.EndsWith("embedding/kernel", StringComparison.Ordinal));

    /// <summary>
    /// What stands in front of the names of most of a file's tensors and is no part of the network's names; empty for nothing.
    /// </summary>
    public static string PrefixOf(IReadOnlyCollection<string> names)
    {
        string prefix = "";
        for (int left = 8; left > 0 && names.Count > 0; left--)
        {
            string? word = Wrappers.FirstOrDefault(w => 2 * names.Count(n => Begins(n, w)) > names.Count)
                ?? OwnToo.FirstOrDefault(w => names.All(n => Begins(n, w)));
            if (word is null) break;
            prefix += word;
        }
        return prefix;

        bool Begins(string name, string word) => name.StartsWith(prefix + word, StringComparison.Ordinal);
    }

    /// <summary>A name without the prefix; others keep what they have.</summary>
    public static string Without(string prefix, string name) =>
        prefix.Length > 0 && name.StartsWith(prefix, StringComparison.Ordinal) ? name[prefix.Length..] : name;
}
