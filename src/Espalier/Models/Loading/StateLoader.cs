using System.Buffers;
using Espalier.Nn;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Models;

/// <summary>Brings the tensors of a checkpoint and those of a model together, by name.</summary>
internal static class StateLoader
{
    private const string Positions = "transformer.embeddings.position_embeddings";

    /// <summary>Whether a tensor is part of a classifier, which fine-tuning replaces.</summary>
    public static bool IsHead(string name) =>
        name.StartsWith("head.", StringComparison.Ordinal) || name.StartsWith("head_dist.", StringComparison.Ordinal);

    /// <summary>Checks names and shapes; reads nothing.</summary>
    /// <param name="wanted">The model's tensors.</param>
    /// <param name="mayMiss">Whether the file may lack this tensor (a new head, new agents); anything else missing is an error.</param>
    /// <param name="replaceHead">Keep the model's own head where the file's is for another number of classes.</param>
    public static LoadReport Match(IEnumerable<(string Name, Shape Shape)> wanted, VitConfig config, ModelTensors file,
        Func<string, bool> mayMiss, bool replaceHead)
    {
        List<string> matched = [], resized = [], missing = [], replaced = [];
        var known = new HashSet<string>();
        foreach (var (name, shape) in wanted)
        {
            known.Add(name);
            if (!file.Shapes.TryGetValue(name, out int[]? stored)) missing.Add(name);
            else if (stored.AsSpan().SequenceEqual(shape.ToArray())) matched.Add(name);
            else if (name == Positions && stored is [1, _, var d] && d == config.HiddenSize)
                resized.Add($"{name} {Text(stored)} -> {shape}");
            else if (replaceHead && IsHead(name)) replaced.Add(name);
            else
                throw new EspalierException($"{file.Source}: {name} has shape {Text(stored)} in the file but {shape} in the model; "
                    + "give the model's true shape with --config");
        }
        string[] lacking = [.. missing.Where(name => !mayMiss(name))];
        if (lacking.Length > 0)
            throw new EspalierException($"{file.Source}: lacks {lacking.Length} of the model's tensors "
                + $"({LoadReport.Shortened(lacking)}); is it a checkpoint of this model?");
        return new LoadReport(matched, resized, missing, [.. file.Shapes.Keys.Where(k => !known.Contains(k))], replaced);
    }

    /// <summary>Reads the values of one tensor, positions fitted to the model's grid.</summary>
    /// <exception cref="EspalierException">They are not finite, or no grid.</exception>
    public static void Read(ModelTensors file, string name, VitConfig config, Span<float> destination)
    {
        if (name == Positions && file.Shapes[name][1] != config.Tokens) Resized(file, config).CopyTo(destination);
        else file.Read(name, destination);
        if (!TensorPrimitives.IsFiniteAll<float>(destination))
            throw new EspalierException($"{file.Source}: {name} holds NaN or infinite values; the file is damaged or its training "
                + "diverged");
    }

    /// <summary>Fills a model.</summary>
    /// <param name="whole">Whether the model is to stay as it was where a value is bad, which takes reading the file twice.</param>
    /// <inheritdoc cref="Match" path="/param"/>
    public static LoadReport Load(Module model, VitConfig config, ModelTensors file, Func<string, bool> mayMiss, bool replaceHead,
        bool whole)
    {
        LoadReport report = Match(model.StateDict().Select(p => (p.Name, p.Value.Shape)), config, file, mayMiss, replaceHead);
        var kept = report.Missing.Concat(report.Replaced).ToHashSet();
        (string Name, Tensor Value)[] targets = [.. model.StateDict().Where(p => !kept.Contains(p.Name))];
        if (whole) foreach (var (name, value) in targets) Check(file, name, config, checked((int)value.Length));
        foreach (var (name, value) in targets) Read(file, name, config, value.Span);
        return report;
    }

    private static void Check(ModelTensors file, string name, VitConfig config, int length)
    {
        float[] values = ArrayPool<float>.Shared.Rent(length);
        try
        {
            Read(file, name, config, values.AsSpan(0, length));
        }
        finally
        {
            ArrayPool<float>.Shared.Return(values);
        }
    }

    private static float[] Resized(ModelTensors file, VitConfig config)
    {
        try
        {
            return PositionResize.Run(file.Read(Positions), config.HiddenSize, config.PrefixTokens, config.Grid);
        }
        catch (EspalierException e)
        {
            throw new EspalierException($"{file.Source}: {e.Message}", e);
        }
    }

    private static string Text(int[] shape) => $"[{string.Join(",", shape)}]";
}
