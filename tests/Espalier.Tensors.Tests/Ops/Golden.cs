using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace Espalier.Tensors.Tests.Ops;

/// <summary>
/// Cases that PyTorch computed in double precision (tests/goldens/make_*.py): inputs, output, a gradient of the output, and
/// the gradients of the inputs. Results may differ by 1e-5 of the largest value of the array.
/// </summary>
internal sealed class Golden
{
    private const double Tolerance = 1e-5;

    private readonly Dictionary<string, (Shape Shape, float[] Values)> arrays = [];

    private Golden(string file)
    {
        byte[] bytes = File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "goldens", file));
        int header = checked((int)BinaryPrimitives.ReadInt64LittleEndian(bytes)), data = 8 + header;
        using JsonDocument json = JsonDocument.Parse(bytes.AsMemory(8, header));
        foreach (JsonProperty entry in json.RootElement.EnumerateObject())
        {
            int[] dims = [.. entry.Value.GetProperty("shape").EnumerateArray().Select(d => d.GetInt32())];
            int[] range = [.. entry.Value.GetProperty("data_offsets").EnumerateArray().Select(d => d.GetInt32())];
            float[] values = MemoryMarshal.Cast<byte, float>(bytes.AsSpan(data + range[0], range[1] - range[0])).ToArray();
            arrays.Add(entry.Name, (new Shape(dims), values));
        }
    }

    /// <summary>Reads a file of tests/goldens.</summary>
    public static Golden Open(string file) => new(file);

    public IEnumerable<string> Cases => arrays.Keys.Select(key => key[..key.IndexOf('/')]).Distinct();

    /// <summary>
    /// Runs a case: <paramref name="op"/> gets the inputs by name and returns the output; output and gradients are compared.
    /// </summary>
    public void Run(string name, Func<IReadOnlyDictionary<string, Tensor>, Tensor> op)
    {
        using var scope = new Scope();
        using var recording = new Recording();
        Dictionary<string, Tensor> inputs = [];
        foreach (string input in Names(name, "in"))
        {
            inputs[input] = Array($"{name}/in/{input}");
            inputs[input].RequiresGrad = arrays.ContainsKey($"{name}/grad/{input}");
        }
        Tensor y = op(inputs);
        Compare($"{name}/out/y", y);
        if (!arrays.ContainsKey($"{name}/grad/y")) return;
        recording.Backward(y, Array($"{name}/grad/y"));
        foreach (var (input, x) in inputs)
        {
            if (x.RequiresGrad) Compare($"{name}/grad/{input}", x.Grad);
            else Assert.Null(x.Grad);
            x.ClearGrad();
        }
    }

    private IEnumerable<string> Names(string name, string kind) =>
        arrays.Keys.Where(key => key.StartsWith($"{name}/{kind}/", StringComparison.Ordinal)).Select(key => key.Split('/')[2]);

    private Tensor Array(string key) => Tensor.From(arrays[key].Shape, arrays[key].Values);

    private void Compare(string key, Tensor? actual)
    {
        Assert.True(actual is not null, $"{key}: nothing");
        var (shape, expected) = arrays[key];
        Assert.True(shape == actual.Shape, $"{key}: shape {actual.Shape} instead of {shape}");
        double scale = expected.Length == 0 ? 1 : Math.Max(1e-3, expected.Max(MathF.Abs));
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.True(Math.Abs(actual.Span[i] - expected[i]) <= Tolerance * scale,
                $"{key}[{i}]: {actual.Span[i]} instead of {expected[i]}");
        }
    }
}
