using System.Text.Json;
using Espalier.Optim;
using Espalier.Tensors;

namespace Espalier.Tests.Optim;

/// <summary>Numbers made by tests/goldens/make_optim.py with PyTorch, and small helpers around them.</summary>
internal static class OptimGolden
{
    public static readonly JsonElement Root = JsonDocument.Parse(
        File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Goldens", "Optim", "optim.json"))).RootElement;

    public static float[] Floats(JsonElement array) => [.. array.EnumerateArray().Select(x => x.GetSingle())];

    public static Tensor Parameter(params float[] values)
    {
        Tensor t = Tensor.Parameter(new Shape(values.Length));
        values.CopyTo(t.Span);
        return t;
    }

    public static void SetGrad(Tensor parameter, ReadOnlySpan<float> values)
    {
        parameter.Grad ??= Tensor.Unscoped(parameter.Shape);
        values.CopyTo(parameter.Grad.Span);
    }

    public static ParameterGroup[] Group(params Tensor[] parameters) =>
        [new("all", [.. parameters.Select((p, i) => ($"p{i}", p))])];

    public static void AssertClose(float[] expected, ReadOnlySpan<float> actual, float tolerance = 2e-6f)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
            if (!(MathF.Abs(expected[i] - actual[i]) <= tolerance * Math.Max(1, MathF.Abs(expected[i]))))
                Assert.Fail($"element {i}: expected {expected[i]}, was {actual[i]}");
    }
}
