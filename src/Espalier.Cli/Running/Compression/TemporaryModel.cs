namespace Espalier.Cli.Running;

/// <summary>A network in a file that is gone afterwards.</summary>
internal sealed class TemporaryModel : IDisposable
{
    public TemporaryModel(Model model) => model.Save(Path);

    public string Path { get; } =
        System.IO.Path.Combine(System.IO.Path.GetTempPath(), $"espalier-{Guid.NewGuid():n}.safetensors");

    public long Bytes => new FileInfo(Path).Length;

    public void Dispose() => File.Delete(Path);
}
