namespace Espalier.Data;

/// <summary>The 1,000 classes of ImageNet's challenges.</summary>
public static class ImageNet
{
    private const string Resource = "Espalier.Data.imagenet-classes.txt";

    /// <summary>Their names in the order of the logits of published networks, as torchvision writes them.</summary>
    public static IReadOnlyList<string> ClassNames { get; } = Read();

    private static string[] Read()
    {
        using Stream stream = typeof(ImageNet).Assembly.GetManifestResourceStream(Resource)
            ?? throw new InvalidOperationException($"the resource {Resource} is not in the assembly");
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }
}
