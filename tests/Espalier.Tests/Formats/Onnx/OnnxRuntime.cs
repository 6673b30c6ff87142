using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Formats.Onnx;

/// <summary>Runs model files in ONNX Runtime: tests/onnx/run.mjs under node. `npm ci` in tests/onnx installs it.</summary>
internal static class OnnxRuntime
{
    public static string RepositoryRoot { get; } = FindRoot();

    private static string Folder => Path.Combine(RepositoryRoot, "tests", "onnx");

    /// <summary>Null, or what is missing.</summary>
    public static string? Missing() =>
        Directory.Exists(Path.Combine(Folder, "node_modules", "onnxruntime-node")) ? null
            : "ONNX Runtime is not installed: run npm ci in tests/onnx";

    /// <param name="Images">[n, C, S, S], n a multiple of Batch.</param>
    public sealed record Job(string Model, float[] Images, int Batch);

    /// <returns>The raw numbers of each output, of all runs.</returns>
    public static Dictionary<string, byte[]> Run(string model, ReadOnlySpan<float> images, int batch) =>
        Run([new Job(model, images.ToArray(), batch)])[0];

    /// <summary>Many models in one process, whose start takes longer than a small model does.</summary>
    public static Dictionary<string, byte[]>[] Run(IReadOnlyList<Job> jobs)
    {
        using var folder = new TempFolder();
        List<string> arguments = [Path.Combine(Folder, "run.mjs")], results = [];
        foreach (Job job in jobs)
        {
            string input = folder.File($"images{results.Count}", MemoryMarshal.AsBytes<float>(job.Images).ToArray());
            results.Add(Directory.CreateDirectory(Path.Combine(folder.Path, $"results{results.Count}")).FullName);
            arguments.AddRange([job.Model, input, job.Batch.ToString(CultureInfo.InvariantCulture), results[^1]]);
        }
        var start = new ProcessStartInfo("node", arguments) { RedirectStandardError = true };
        using Process node = Process.Start(start)!;
        string error = node.StandardError.ReadToEnd();
        node.WaitForExit();
        Assert.True(node.ExitCode == 0, error);
        Assert.Equal("", error);        // a warning of ONNX Runtime says that something in the file is odd
        return [.. results.Select(r => Directory.GetFiles(r).ToDictionary(f => Path.GetFileNameWithoutExtension(f), File.ReadAllBytes))];
    }

    public static float[] Floats(byte[] raw) => MemoryMarshal.Cast<byte, float>(raw).ToArray();

    public static long[] Integers(byte[] raw) => MemoryMarshal.Cast<byte, long>(raw).ToArray();

    private static string FindRoot()
    {
        DirectoryInfo? folder = new(AppContext.BaseDirectory);
        while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Espalier.slnx"))) folder = folder.Parent;
        return folder?.FullName ?? throw new InvalidOperationException($"no Espalier.slnx above {AppContext.BaseDirectory}");
    }
}

/// <summary>Skipped where ONNX Runtime is not installed.</summary>
internal sealed class OnnxRuntimeTheoryAttribute : TheoryAttribute
{
    public OnnxRuntimeTheoryAttribute() => Skip = OnnxRuntime.Missing();
}
