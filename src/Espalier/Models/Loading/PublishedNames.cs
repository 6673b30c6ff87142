using Espalier.Formats;

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

    /// <exception cref="EspalierException">An array has a shape that its name rules out, or two stand for the same.</exception>
    public static IReadOnlyDictionary<string, NamedArray> ToModelNames(Checkpoint file) =>
        ReadGuard.Run(file.Source, () => Convert(file));

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

    /// <summary>Whose names a file has, whatever stands in front of them.</summary>
    public static VitLayout LayoutOf(Checkpoint file)
    {
        string prefix = PrefixOf([.. file.Arrays.Keys]);
        return VitNames.LayoutOf([.. file.Arrays.Keys.Select(n => Without(prefix, n))]);
    }

    private static IReadOnlyDictionary<string, NamedArray> Convert(Checkpoint file)
    {
        if (file.Metadata.ContainsKey(ModelStructure.MetadataKey)) return file.Arrays;
        if (IsGoogle(file.Arrays.Keys)) return GoogleNames.Convert(file);
        IReadOnlyDictionary<string, NamedArray> arrays = file.Arrays;
        if (PrefixOf([.. arrays.Keys]) is { Length: > 0 } prefix)
        {
            var bare = new OrderedDictionary<string, NamedArray>();
            foreach (NamedArray a in arrays.Values)
            {
                string name = Without(prefix, a.Name);
                if (!bare.TryAdd(name, new NamedArray(name, a.Shape, a.Data)))
                    throw new InvalidDataException($"two arrays both stand for {name}");
            }
            arrays = bare;
        }
        return VitNames.Convert(arrays, VitNames.LayoutOf([.. arrays.Keys]));
    }
}
