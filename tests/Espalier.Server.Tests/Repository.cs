namespace Espalier.Server.Tests;

/// <summary>What tests take from the repository itself.</summary>
internal static class Repository
{
    public static string Root { get; } = FindRoot();

    public static string Model(string name) => Path.Combine(Root, "models", name + ".safetensors");

    public static string Picture(string name = "bag") => Path.Combine(Root, "examples", "images", name + ".png");

    private static string FindRoot()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Espalier.slnx"))) folder = folder.Parent;
        return folder?.FullName ?? throw new InvalidOperationException($"no Espalier.slnx above {AppContext.BaseDirectory}");
    }
}
