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

    /// <param name="images">[n, C, S, S], n a multiple of <paramref name="batch"/>.</param>
    /// <returns>The raw numbers of each output, of all runs.</returns>
    public static Dictionary<string, byte[]> Run(string model, ReadOnlySpan<float> images, int batch)
    {
        using InferenceSession session = Open(model);
        string input = Assert.Single(session.InputNames);
        long[] shape = [batch, .. session.InputMetadata[input].Dimensions[1..].Select(n => (long)n)];
        int step = (int)shape.Aggregate(1L, (a, b) => a * b);
        Assert.Equal(0, images.Length % step);
        var results = session.OutputNames.ToDictionary(name => name, _ => new MemoryStream());
        for (int start = 0; start < images.Length; start += step)
        {
            foreach (var (name, value) in Run(session, new() { [input] = (shape, images.Slice(start, step).ToArray()) }))
                results[name].Write(value);
        }
        return results.ToDictionary(r => r.Key, r => r.Value.ToArray());
    }

    /// <summary>One run with any inputs.</summary>
    public static Dictionary<string, float[]> Run(string model, Dictionary<string, (long[] Shape, float[] Values)> inputs)
    {
        using InferenceSession session = Open(model);
        return Run(session, inputs).ToDictionary(r => r.Key, r => Floats(r.Value));
    }

    /// <summary>One run with ids as its input.</summary>
    public static float[] Run(string model, string input, long[] shape, long[] ids)
    {
        using InferenceSession session = Open(model);
        using var run = new RunOptions();
        using OrtValue value = OrtValue.CreateTensorValueFromMemory(ids, shape);
        using IDisposableReadOnlyCollection<OrtValue> outputs = session.Run(run, [input], [value], session.OutputNames);
        return outputs[0].GetTensorDataAsSpan<float>().ToArray();
    }

    /// <summary>Writes what the runtime makes of a file: the operators that it would run, but for layouts of a single
    /// machine.</summary>
    public static void Optimise(string model, string result)
    {
        // Before any options: making those makes an environment where there is none.
        _ = Environment.Value;
        using var options = new SessionOptions
        {
            OptimizedModelFilePath = result, GraphOptimizationLevel = GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
        };
        Open(model, options).Dispose();
    }

    private static InferenceSession Open(string model)
    {
        _ = Environment.Value;
        using var options = new SessionOptions();
        return Open(model, options);
    }

    private static InferenceSession Open(string model, SessionOptions options)
    {
        (options.IntraOpNumThreads, options.InterOpNumThreads) = (1, 1);
        return new InferenceSession(model, options);
    }

    private static Dictionary<string, byte[]> Run(
        InferenceSession session, Dictionary<string, (long[] Shape, float[] Values)> inputs)
    {
        using var run = new RunOptions();
        OrtValue[] values = [.. inputs.Values.Select(i => OrtValue.CreateTensorValueFromMemory(i.Values, i.Shape))];
        using IDisposableReadOnlyCollection<OrtValue> outputs = session.Run(run, [.. inputs.Keys], values, session.OutputNames);
        foreach (OrtValue value in values) value.Dispose();
        // A warning says that something in the file is odd.
        lock (Complaints) Assert.Empty(Complaints);
        return session.OutputNames.Zip(outputs).ToDictionary(o => o.First, o => o.Second.GetTensorDataAsSpan<byte>().ToArray());
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
