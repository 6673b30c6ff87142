using System.Text.Json;
using Espalier.Data;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Compression;

/// <summary>The small vision transformer of tests/goldens/tiny_vit.py, whose weights and images are said by formulas, and numbers
/// that a script made with it.</summary>
internal sealed class TinyGolden(string folder, string file)
{
    private const int Size = 8;

    public JsonElement Root { get; } = JsonDocument.Parse(
        File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "Goldens", folder, file))).RootElement;

    public double[] this[string key] => Numbers(Root.GetProperty(key));

    public float Number(string key) => Root.GetProperty(key).GetSingle();

    public static double[] Numbers(JsonElement list) => [.. list.EnumerateArray().Select(x => x.GetDouble())];

    public Model Model(int blocks = 2)
    {
        Model model = CompressionJobs.Model(CompressionJobs.TinyVit, Size, blocks: blocks);
        string[] names = [.. Root.GetProperty("names").EnumerateArray().Select(n => n.GetString()!)];
        Assert.Equal(names.Order(StringComparer.Ordinal), model.Graph.Weights.Keys.Order(StringComparer.Ordinal));
        for (int t = 0; t < names.Length; t++)
        {
            Span<float> values = model.Graph.Weights[names[t]].Tensor.Span;
            bool scale = names[t].Contains("norm.weight", StringComparison.Ordinal);
            for (int i = 0; i < values.Length; i++)
                values[i] = (float)(0.4 * Math.Sin(0.7 * i * (1 + 0.01 * t) + t) + (scale ? 1 : 0));
        }
        return model;
    }

    public static Batch Batch(int step, int count = 8)
    {
        var batch = new Batch(count, Size * Size, null);
        for (int i = 0; i < batch.Pixels.Length; i++)
        {
            double at = i + (double)step * batch.Pixels.Length;
            batch.Pixels[i] = (float)Math.Sin(0.013 * at * at + 0.5 * at);
        }
        for (int n = 0; n < count; n++) batch.Labels[n] = (3 * n + step) % 10;
        return batch;
    }

    public static Tensor Images(int step) => Batch(step).ToTensor(1, Size);

    /// <summary>Trains by SGD with momentum and weight decay, as the scripts do.</summary>
    /// <returns>The loss of each step.</returns>
    public static double[] Train(Model model, float rate, int steps, params ITrainingHook[] hooks)
    {
        var task = new ClassifierTask(model, new ClassifierTaskOptions { Hooks = hooks });
        using var sgd = new Sgd(task.ParameterGroups, momentum: 0.9f, weightDecay: 0.01f);
        var losses = new double[steps];
        for (int step = 0; step < steps; step++)
        {
            using var scope = new Scope();
            var context = new StepContext(step + 1, steps, 0, 0, 1, new Rng(1)) { Optimizer = sgd };
            losses[step] = task.Step(Batch(step), context)["loss"];
            sgd.Step(rate);
            task.AfterStep(step + 1);
            foreach (var (_, parameter) in model.Graph.Parameters) parameter.ClearGrad();
        }
        return losses;
    }

    public static void Close(double[] expected, ReadOnlySpan<float> actual, double tolerance = 1e-4)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
            if (!(Math.Abs(expected[i] - actual[i]) <= tolerance))
                Assert.Fail($"element {i}: expected {expected[i]}, was {actual[i]}");
    }
}
