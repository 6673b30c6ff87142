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

    private static IReadOnlyDictionary<string, NamedArray> Convert(Checkpoint file)
    {
        if (file.Arrays.Keys.Any(k => k.EndsWith("embedding/kernel", StringComparison.Ordinal))) return GoogleNames.Convert(file);
        if (file.Arrays.ContainsKey("patch_embed.proj.weight")) return TimmNames.Convert(file);
        return file.Arrays;
    }
}
