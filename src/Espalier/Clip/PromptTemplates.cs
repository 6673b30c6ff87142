namespace Espalier.Clip;

/// <summary>
/// Sentences around a class's name, <c>{}</c> standing for it: one for each way to show it. The mean of all of them is a better
/// class than any alone (Radford et al., arXiv 2103.00020, section 3.1.4).
/// </summary>
public static class PromptTemplates
{
    private const string Place = "{}";

    /// <summary>The names that <see cref="Get"/> knows.</summary>
    public static IReadOnlyList<string> Names { get; } = ["plain", "imagenet", "imagenet-7", "cifar"];

    /// <summary>The 7 of the 80 that do nearly as well.</summary>
    private static readonly string[] Seven =
    [
        "itap of a {}.", "a bad photo of the {}.", "a origami {}.", "a photo of the large {}.", "a {} in a video game.",
            "art of the {}.",
        "a photo of the small {}.",
    ];

    // What the authors' notebook has, a word or a few before the name; "the" and "a" stand for both forms where both are there.
    private static readonly string[] Eighty =
    [
        "a bad photo of", "a photo of many {}.", "a sculpture of", "a photo of the hard to see {}.",
            "a photo of a hard to see {}.",
        "a low resolution photo of", "a rendering of", "graffiti of", "a cropped photo of", "a tattoo of", "the embroidered {}.",
        "a embroidered {}.", "a bright photo of", "a photo of a clean {}.", "a photo of the clean {}.", "a photo of a dirty {}.",
        "a photo of the dirty {}.", "a dark photo of", "a drawing of", "a photo of my {}.", "the plastic {}.", "a plastic {}.",
        "a photo of the cool {}.", "a photo of a cool {}.", "a close-up photo of", "a black and white photo of", "a painting of",
        "a pixelated photo of", "a jpeg corrupted photo of", "a blurry photo of", "a photo of", "a good photo of",
        "a {} in a video game.", "the {} in a video game.", "a photo of one {}.", "a doodle of", "the origami {}.",
            "a origami {}.",
        "a sketch of", "the toy {}.", "a toy {}.", "a rendition of", "a photo of a large {}.", "a photo of the large {}.",
        "a photo of a nice {}.", "a photo of the nice {}.", "a photo of a weird {}.", "a photo of the weird {}.", "a cartoon {}.",
        "the cartoon {}.", "art of", "itap of", "itap of my {}.", "a plushie {}.", "the plushie {}.", "a photo of a small {}.",
        "a photo of the small {}.",
    ];

    /// <summary>Templates by name; null where there is none.</summary>
    public static IReadOnlyList<string>? Get(string name) => name switch
    {
        "plain" => ["a photo of a {}."],
        "imagenet" => [.. Eighty.SelectMany(Both)],
        "imagenet-7" => Seven,
        "cifar" => [.. new[] { "", "blurry ", "black and white ", "low contrast ", "high contrast ", "bad ", "good " }
            .SelectMany(kind => Both($"a {kind}photo of")), .. new[] { "small", "big" }
            .SelectMany(size => new[] { $"a photo of a {size} {{}}.", $"a photo of the {size} {{}}." })],
        _ => null,
    };

    /// <summary>The sentence of a class.</summary>
    /// <exception cref="EspalierException">The template has no place for the name.</exception>
    public static string Fill(string template, string name) => template.Contains(Place, StringComparison.Ordinal)
        ? template.Replace(Place, name, StringComparison.Ordinal)
        : throw new EspalierException($"the template '{template}' has no {Place} for the class's name");

    private static IEnumerable<string> Both(string words) =>
        words.Contains(Place, StringComparison.Ordinal) ? [words] : [$"{words} a {Place}.", $"{words} the {Place}."];
}
