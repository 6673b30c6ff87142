using Espalier.Imaging;

namespace Espalier.Tests.Imaging;

/// <summary>Pictures made by tests/goldens/make_images.py with PIL.</summary>
internal static class Golden
{
    public static string Path(string file) => System.IO.Path.Combine(AppContext.BaseDirectory, "Goldens", "Images", file);

    public static Image Read(string name) => ImageFile.Read(Path(name + ".png"));

    public static void AssertSame(Image expected, Image actual)
    {
        Assert.Equal((expected.Width, expected.Height, expected.Channels), (actual.Width, actual.Height, actual.Channels));
        for (int i = 0; i < expected.Pixels.Length; i++)
            if (expected.Pixels[i] != actual.Pixels[i])
                Assert.Fail($"sample {i} of {expected.Pixels.Length}: expected {expected.Pixels[i]}, was {actual.Pixels[i]}");
    }
}

/// <summary>A folder that is gone after the test.</summary>
internal sealed class TempFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("espalier-test-").FullName;

    public string File(string name, byte[] content)
    {
        string path = System.IO.Path.Combine(Path, name);
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(path)!);
        System.IO.File.WriteAllBytes(path, content);
        return path;
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
