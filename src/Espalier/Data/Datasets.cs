namespace Espalier.Data;

/// <summary>The data sets that can be opened by name.</summary>
public static class Datasets
{
    /// <summary>All names, with what is known before opening.</summary>
    public static IReadOnlyList<DatasetInfo> All { get; } =
        [FashionMnist.Info, FashionMnist.SampleInfo, Cifar.Info10, Cifar.Info100, FolderDataset.UnopenedInfo];

    /// <summary>What is known of a data set; an error that lists the names where there is none of that name.</summary>
    public static DatasetInfo Describe(string name) => All.FirstOrDefault(i => i.Name == name) ?? throw new EspalierException(
        $"{name}: no such data set{Near.Hint(name, All.Select(i => i.Name))}; there are "
        + $"{string.Join(", ", All.Select(i => i.Name))}.");

    /// <summary>Where fetched files go where the user names no folder: espalier/NAME in the user's data directory.</summary>
    public static string DefaultDirectory(string name) => Path.Combine(
        Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData, Environment.SpecialFolderOption.DoNotVerify),
        "espalier", name);

    /// <summary>True where <see cref="FetchAsync"/> knows where to get it.</summary>
    public static bool CanFetch(string name) => DatasetFiles.Of(name).Count > 0;

    /// <summary>
    /// The folder or archive that <see cref="Open"/> would read: <paramref name="dataDir"/> or its sub-folder of the data
    /// set's name; where null, the system's folder or the default one. Null where the files are in none of them.
    /// </summary>
    public static string? Find(string name, string? dataDir)
    {
        Describe(name);
        string[] candidates = dataDir != null ? [dataDir, Path.Combine(dataDir, name)]
            : name == "fashion-mnist" ? [DefaultDirectory(name), FashionMnist.DebianDirectory]
            : [DefaultDirectory(name)];
        return candidates.FirstOrDefault(d => name switch
        {
            "fashion-mnist" => FashionMnist.IsPresent(d),
            "cifar10" => Cifar.IsPresent(d, 10),
            "cifar100" => Cifar.IsPresent(d, 100),
            "folder" => dataDir != null && Directory.Exists(d),
            _ => false,
        });
    }

    /// <summary>
    /// The name of the data set whose files a folder holds: <paramref name="preferred"/> where it is that, else another that
    /// is known, else <c>folder</c> where it has folders of its own. Null where there is nothing of that.
    /// </summary>
    public static string? In(string directory, string? preferred = null) =>
        new[] { preferred }.Concat(All.Select(i => i.Name)).FirstOrDefault(name => name is not (null or "folder")
            && All.Any(i => i.Name == name) && Find(name, directory) is not null)
        ?? (Directory.Exists(directory) && ClassFolder.Folders(directory).Length > 0 ? "folder" : null);

    /// <summary>Opens a data set.</summary>
    /// <param name="name">Its name, or the path of an image folder.</param>
    /// <param name="dataDir">Folder (for CIFAR also the archive); null for the usual places. The sample needs none.</param>
    /// <param name="download">Fetches what is missing, into <paramref name="dataDir"/> or the default folder.</param>
    /// <param name="strict">A picture of a folder that cannot be read is an error; else it is left out and noted.</param>
    /// <exception cref="EspalierException">Unknown name, missing or damaged files; the message says how to get them.</exception>
    public static DatasetPair Open(string name, string? dataDir, bool download = false,
        IProgress<DownloadProgress>? progress = null, bool strict = false)
    {
        if (dataDir is null && All.All(i => i.Name != name) && Directory.Exists(name)) (name, dataDir) = ("folder", name);
        Describe(name);
        if (name == FashionMnist.SampleInfo.Name) return OpenSample();
        if (name == "folder" && dataDir == null)
            throw new EspalierException("folder: say which folder (it holds a folder of images a class).");
        string? found = Find(name, dataDir);
        if (found == null && download && CanFetch(name)) found = Downloader.Wait(() => FetchAsync(name, dataDir, progress));
        string directory = found ?? dataDir ?? DefaultDirectory(name);
        return name switch
        {
            "fashion-mnist" => FashionMnist.Open(directory),
            "cifar10" => Cifar.Open(directory, 10),
            "cifar100" => Cifar.Open(directory, 100),
            _ => FolderDataset.Open(directory, strict),
        };
    }

    /// <summary>Fashion-MNIST's embedded sample: needs no file and no network.</summary>
    public static DatasetPair OpenSample() => FashionMnist.OpenSample();

    /// <summary>Downloads a data set's files, those that are not there yet, and gives the folder they are in.</summary>
    /// <param name="dataDir">Null for <see cref="DefaultDirectory"/>.</param>
    /// <exception cref="EspalierException">Not a data set that is published, or the download failed.</exception>
    public static async Task<string> FetchAsync(string name, string? dataDir = null, IProgress<DownloadProgress>? progress = null,
        CancellationToken cancel = default)
    {
        Describe(name);
        var files = DatasetFiles.Of(name);
        if (files.Count == 0) throw new EspalierException($"{name}: there is nothing to download for it.");
        string directory = dataDir ?? DefaultDirectory(name);
        using var downloader = new Downloader();
        foreach (var file in files) await downloader.FetchAsync(file, directory, progress, cancel).ConfigureAwait(false);
        return directory;
    }
}
