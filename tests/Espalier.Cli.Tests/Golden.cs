using System.Text.Json;
using Espalier.Formats;

namespace Espalier.Cli.Tests;

/// <summary>The small APT checkpoint, images and results that PyTorch wrote (tests/goldens/make_apt.py).</summary>
internal static class Golden
{
    public static string Folder { get; } = Path.Combine(AppContext.BaseDirectory, "Goldens", "Apt");

    public static string Checkpoint => Path.Combine(Folder, "random.pth");

    public static string Trained => Path.Combine(Folder, "trained.pth");

    public static string Config => Path.Combine(Folder, "config.json");

    /// <summary>Options that name the model and the data.</summary>
    public static string[] Model => ["--model", Checkpoint, "--config", Config, "--data", "fashion-mnist", "--data-dir", Folder];

    /// <summary>`train` from the checkpoint on the 64 images with everything random off.</summary>
    public static string[] Train(string folder, int steps) =>
    [
        "train", "--method", "apt", "--init", Checkpoint, "--config", Config, "--data", "fashion-mnist", "--data-dir", Folder,
        "--num-steps", $"{steps}", "--train-batch-size", "16", "--learning-rate", "0.03", "--exploration", "0", "--dropout", "0",
        "--no-shuffle", "--no-augment", "--decay-type", "constant", "--optimizer", "sgd", "--output-dir", folder,
    ];

    public static JsonElement[] Expected() =>
        JsonSerializer.Deserialize<JsonElement[]>(File.ReadAllText(Path.Combine(Folder, "expected.json")))!;

    public static void AssertClose(IReadOnlyList<float> expected, IReadOnlyList<float> actual, string what)
    {
        Assert.Equal(expected.Count, actual.Count);
        for (int i = 0; i < expected.Count; i++)
            Assert.True(MathF.Abs(expected[i] - actual[i]) < 1e-4f, $"{what}[{i}]: {actual[i]}, reference {expected[i]}");
    }

    public static void AssertWeights(string expected, string actual)
    {
        Checkpoint reference = CheckpointFile.Read(expected), file = CheckpointFile.Read(actual);
        Assert.Equal(reference.Arrays.Keys.Order(), file.Arrays.Keys.Order());
        foreach (string name in reference.Arrays.Keys) AssertClose(reference[name].Data, file[name].Data, name);
    }
}
