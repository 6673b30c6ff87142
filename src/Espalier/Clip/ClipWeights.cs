using Espalier.Data;

namespace Espalier.Clip;

/// <summary>A published model.</summary>
/// <param name="Name">As <c>clip.load</c> calls it.</param>
/// <param name="ImageSize">Pixels a side.</param>
/// <param name="Embedding">Width of the features.</param>
/// <param name="Parameters">Of both towers, in millions.</param>
/// <param name="File">The archive, and its digest.</param>
public sealed record ClipPreset(string Name, int ImageSize, int Embedding, int Parameters, RemoteFile File);

/// <summary>Where OpenAI keeps its nine models and their vocabulary, and the digests of what it published.</summary>
public static class ClipWeights
{
    private const string OpenAi = "https://openaipublic.azureedge.net/clip/models/";
    private const string Code = "https://raw.githubusercontent.com/openai/CLIP/main/clip/";

    /// <summary>All nine.</summary>
    public static IReadOnlyList<ClipPreset> All { get; } =
    [
        Preset("RN50", 224, 1024, 102, "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"),
        Preset("RN101", 224, 512, 120, "8fa8567bab74a42d41c5915025a8e4538c3bdbe8804a470a72f30b0d94fab599"),
        Preset("RN50x4", 288, 640, 178, "7e526bd135e493cef0776de27d5f42653e6b4c8bf9e0f653bb11773263205fdd"),
        Preset("RN50x16", 384, 768, 291, "52378b407f34354e150460fe41077663dd5b39c54cd0bfd2b27167a4a06ec9aa"),
        Preset("RN50x64", 448, 1024, 623, "be1cfb55d75a9666199fb2206c106743da0f6468c9d327f3e0d0a543a9919d9c"),
        Preset("ViT-B/32", 224, 512, 151, "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"),
        Preset("ViT-B/16", 224, 512, 150, "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f"),
        Preset("ViT-L/14", 224, 768, 428, "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"),
        Preset("ViT-L/14@336px", 336, 768, 428, "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02"),
    ];

    /// <summary>The vocabulary of all of them.</summary>
    public static RemoteFile Vocabulary { get; } = new("bpe_simple_vocab_16e6.txt.gz", [Code + "bpe_simple_vocab_16e6.txt.gz"],
        "sha256:924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a", 16 << 20);

    /// <summary>Where fetched files are kept: espalier/clip in the user's data directory.</summary>
    public static string DefaultDirectory => Datasets.DefaultDirectory("clip");

    /// <summary>The model of that name; case does not matter. Null where there is none.</summary>
    public static ClipPreset? Find(string name) =>
        All.FirstOrDefault(p => p.Name.Equals(name, StringComparison.OrdinalIgnoreCase));

    /// <summary>The path of a file, after fetching it where it is not there yet. A digest that differs is an error.</summary>
    /// <param name="directory">Null for <see cref="DefaultDirectory"/>.</param>
    /// <exception cref="EspalierException">It could not be had, or is not what was published.</exception>
    public static async Task<string> FetchAsync(RemoteFile file, string? directory = null,
        IProgress<DownloadProgress>? progress = null,
        CancellationToken cancel = default)
    {
        using var downloader = new Downloader();
        return await downloader.FetchAsync(file, directory ?? DefaultDirectory, progress, cancel).ConfigureAwait(false);
    }

    // Halves of 16 bits, and the program that an archive has beside them.
    private static ClipPreset Preset(string name, int imageSize, int embedding, int parameters, string sha256)
    {
        string file = name.Replace('/', '-').Replace('@', '-') + ".pt";
        return new ClipPreset(name, imageSize, embedding, parameters,
            new RemoteFile(file, [$"{OpenAi}{sha256}/{file}"], "sha256:" + sha256, parameters * 3_000_000L + (64 << 20)));
    }
}
