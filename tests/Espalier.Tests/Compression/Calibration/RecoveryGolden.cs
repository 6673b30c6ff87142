using System.Text.Json;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Calibration;

/// <summary>Numbers made by tests/goldens/make_recovery.py with numpy.</summary>
internal sealed class RecoveryGolden(string name)
{
    private static readonly JsonElement Root = JsonDocument.Parse(
        File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Goldens", "Recovery", "recovery.json"))).RootElement;

    private readonly JsonElement values = Root.GetProperty(name);

    public double[] this[string key] => [.. values.GetProperty(key).EnumerateArray().Select(x => x.GetDouble())];

    public double Number(string key) => values.GetProperty(key).GetDouble();

    public int[] Ints(string key) => [.. values.GetProperty(key).EnumerateArray().Select(x => x.GetInt32())];

    /// <summary>Of no scope.</summary>
    public Tensor Tensor(string key, params int[] shape)
    {
        Tensor t = Tensors.Tensor.Unscoped(new Shape(shape));
        ((float[])[.. this[key].Select(x => (float)x)]).CopyTo(t.Span);
        return t;
    }

    /// <summary>Some columns of rows.</summary>
    public static double[] Columns(double[] rows, int width, int[] columns) =>
        [.. Enumerable.Range(0, rows.Length / width).SelectMany(r => columns.Select(c => rows[r * width + c]))];

    public static Tensor Rows(double[] rows, int width)
    {
        Tensor t = Tensors.Tensor.Unscoped(new Shape(rows.Length / width, width));
        ((float[])[.. rows.Select(x => (float)x)]).CopyTo(t.Span);
        return t;
    }

    public static void Close(double[] expected, IEnumerable<double> actual, double tolerance = 1e-4)
    {
        double[] got = [.. actual];
        Assert.Equal(expected.Length, got.Length);
        for (int i = 0; i < got.Length; i++)
            if (!(Math.Abs(expected[i] - got[i]) <= tolerance * Math.Max(1, Math.Abs(expected[i]))))
                Assert.Fail($"element {i}: expected {expected[i]}, was {got[i]}");
    }
}
