using System.Runtime.InteropServices;
using Microsoft.ML.OnnxRuntime;

namespace Espalier.Tests.Formats.Onnx;

/// <summary>Runs model files in ONNX Runtime.</summary>
internal static class OnnxRuntime
{
    private static readonly List<string> Complaints = [];

    // Kept for as long as the runtime may call it.
    private static readonly DOrtLoggingFunction Note = (_, _, _, _, _, message) =>
    {
        lock (Complaints) Complaints.Add(message);
    };

    private static readonly Lazy<OrtEnv> Environment = new(() =>
    {
        var options = new EnvironmentCreationOptions
        {
            logId = "tests", logLevel = OrtLoggingLevel.ORT_LOGGING_LEVEL_WARNING, loggingFunction = Note,
        };
        return OrtEnv.CreateInstanceWithOptions(ref options);
    });

    public static string RepositoryRoot { get; } = FindRoot();

    /// <param name="Images">[n, C, S, S], n a multiple of Batch.</param>
    public sealed record Job(string Model, float[] Images, int Batch);

    /// <returns>The raw numbers of each output, of all runs.</returns>
    public static Dictionary<string, byte[]> Run(string model, ReadOnlySpan<float> images, int batch) =>
        Run(new Job(model, images.ToArray(), batch));

    public static Dictionary<string, byte[]> Run(Job job)
    {
        _ = Environment.Value;
        using var options = new SessionOptions { IntraOpNumThreads = 1, InterOpNumThreads = 1 };
        using var session = new InferenceSession(job.Model, options);
        string input = Assert.Single(session.InputNames);
        long[] shape = [job.Batch, .. session.InputMetadata[input].Dimensions[1..].Select(n => (long)n)];
        int step = (int)shape.Aggregate(1L, (a, b) => a * b);
        Assert.Equal(0, job.Images.Length % step);
        var results = session.OutputNames.ToDictionary(name => name, _ => new MemoryStream());
        using var run = new RunOptions();
        for (int start = 0; start < job.Images.Length; start += step)
        {
            using OrtValue images = OrtValue.CreateTensorValueFromMemory(
                OrtMemoryInfo.DefaultInstance, job.Images.AsMemory(start, step), shape);
            using IDisposableReadOnlyCollection<OrtValue> outputs = session.Run(run, [input], [images], session.OutputNames);
            foreach (var (name, value) in session.OutputNames.Zip(outputs))
                results[name].Write(value.GetTensorDataAsSpan<byte>());
        }
        // A warning says that something in the file is odd.
        lock (Complaints) Assert.Empty(Complaints);
        return results.ToDictionary(r => r.Key, r => r.Value.ToArray());
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
