using Espalier.Formats;

namespace Espalier.Models;

/// <summary>
/// Brings a vision transformer checkpoint to the names used here, those of the PyTorch port that APT was built on. Knows that
/// port's and APT's own files (nothing to do), Google's .npz layout and the DeiT / timm state dict.
/// </summary>
internal static class PublishedNames
{
    /// <exception cref="EspalierException">An array has a shape that its name rules out, or two stand for the same.</exception>
    public static IReadOnlyDictionary<string, NamedArray> ToModelNames(Checkpoint file) =>
        ReadGuard.Run(file.Source, () => Convert(file));

    /// <summary>Whether these are the names of Google's layout.</summary>
    public static bool IsGoogle(IEnumerable<string> names) => names.Any(k => k.EndsWith("embedding/kernel", StringComparison.Ordinal));

    /// <summary>Whether these are the names of the DeiT / timm state dict.</summary>
    public static bool IsTimm(IEnumerable<string> names) => names.Contains("patch_embed.proj.weight");

    private static IReadOnlyDictionary<string, NamedArray> Convert(Checkpoint file)
    {
        if (IsGoogle(file.Arrays.Keys)) return GoogleNames.Convert(file);
        if (IsTimm(file.Arrays.Keys)) return TimmNames.Convert(file);
        return file.Arrays;
    }
}
