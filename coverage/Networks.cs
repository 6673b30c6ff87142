using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Espalier.Formats;
using Espalier.Onnx;
using Espalier.Tensors;
using Microsoft.ML.OnnxRuntime;

namespace Espalier.Coverage;

/// <summary>
/// One network that export.py wrote (model.onnx, x.npy, y.npy): read, compared with PyTorch's values and written again, which
/// ONNX Runtime runs. A row of the table says what came out.
/// </summary>
internal static class Networks
{
    /// <summary>Of the largest value.</summary>
    private const float Tolerance = 1e-4f;

    public static int Run(string name, string folder, string page)
    {
        string row = Row(name, folder, out bool passed);
        IEnumerable<string> rows = Page.Read(page, "networks").Where(r => r.StartsWith("| ", StringComparison.Ordinal))
            .Skip(2).Where(r => !r.StartsWith($"| {name} |", StringComparison.Ordinal)).Append(row).Order(StringComparer.Ordinal);
        Page.Write(page, "networks",
        [
            "| network | nodes in the file | in the graph | parameters | against PyTorch | written again, in ONNX Runtime | |",
            "| --- | --- | --- | --- | --- | --- | --- |", .. rows,
        ]);
        Console.WriteLine(row);
        return passed ? 0 : 1;
    }

    private static string Row(string name, string folder, out bool passed)
    {
        passed = false;
        try
        {
            var clock = Stopwatch.StartNew();
            OnnxImport.Result read = OnnxImport.Read(Path.Combine(folder, "model.onnx"));
            Console.WriteLine($"{name}: read in {clock.Elapsed.TotalSeconds:0.0} s");
            NamedArray x = Array(folder, "x.npy"), y = Array(folder, "y.npy");
            using var scope = new Scope();
            float own = Difference(y.Data, read.Graph.Run(Tensor.From(new Shape(x.Shape), x.Data)).ToArray());
            string again = Path.Combine(folder, "again.onnx");
            string written = "-";
            try
            {
                OnnxFile.Write(again, read.Graph);
                float runtime = Difference(y.Data, Runtime(again, x));
                written = runtime.ToString("0.0e+0", CultureInfo.InvariantCulture);
                passed = own <= Tolerance && runtime <= Tolerance;
            }
            catch (EspalierException e)
            {
                written = e.Message;
            }
            return string.Create(CultureInfo.InvariantCulture,
                $"| {name} | {read.Source.Nodes.Count} | {read.Graph.Nodes.Count} | "
                + $"{read.Graph.Parameters.Sum(p => p.Value.Length) / 1e6:0.00} M | {own:0.0e+0} | {written} | "
                + $"{(passed ? "passed" : "failed")} |");
        }
        catch (EspalierException e)
        {
            return $"| {name} | | | | {e.Message[(e.Message.IndexOf(": ", StringComparison.Ordinal) + 2)..]} | | failed |";
        }
    }

    private static float[] Runtime(string file, NamedArray x)
    {
        using var session = new InferenceSession(file);
        using var run = new RunOptions();
        using OrtValue input = OrtValue.CreateTensorValueFromMemory(x.Data, [.. x.Shape.Select(n => (long)n)]);
        using IDisposableReadOnlyCollection<OrtValue> outputs =
            session.Run(run, [session.InputNames[0]], [input], [session.OutputNames[0]]);
        return MemoryMarshal.Cast<byte, float>(outputs[0].GetTensorDataAsSpan<byte>()).ToArray();
    }

    private static float Difference(float[] expected, float[] actual) => expected.Length != actual.Length ? float.PositiveInfinity
        : expected.Zip(actual, (a, b) => MathF.Abs(a - b)).Max() / expected.Max(MathF.Abs);

    private static NamedArray Array(string folder, string file) => ReadGuard.Open(Path.Combine(folder, file),
        stream => Npy.Read(stream, file, stream.Length));
}
