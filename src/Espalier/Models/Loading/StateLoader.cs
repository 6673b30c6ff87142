using Espalier.Formats;
using Espalier.Nn;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Models;

/// <summary>Copies the arrays of a checkpoint into a model by name. Checks everything first: a file that does not fit changes nothing.</summary>
internal static class StateLoader
{
    private const string Positions = "transformer.embeddings.position_embeddings";

    /// <summary>Whether a tensor is part of a classifier, which fine-tuning replaces.</summary>
    public static bool IsHead(string name) =>
        name.StartsWith("head.", StringComparison.Ordinal) || name.StartsWith("head_dist.", StringComparison.Ordinal);

    /// <param name="mayMiss">Whether the file may lack this tensor (a new head, new agents); anything else missing is an error.</param>
    /// <param name="replaceHead">Keep the model's own head where the file's is for another number of classes.</param>
    public static LoadReport Load(Module model, VitConfig config, IReadOnlyDictionary<string, NamedArray> arrays, string source,
        Func<string, bool> mayMiss, bool replaceHead)
    {
        List<string> matched = [], resized = [], missing = [], replaced = [];
        var copies = new List<(string Name, Tensor To, float[] From)>();
        var known = new HashSet<string>();
        foreach (var (name, tensor) in model.StateDict())
        {
            known.Add(name);
            if (!arrays.TryGetValue(name, out NamedArray? array))
            {
                missing.Add(name);
                continue;
            }
            if (array.Shape.AsSpan().SequenceEqual(tensor.Shape.ToArray()))
            {
                copies.Add((name, tensor, array.Data));
                matched.Add(name);
            }
            else if (name == Positions && array.Shape is [1, _, var d] && d == config.HiddenSize)
            {
                copies.Add((name, tensor, Resized(array, config, source)));
                resized.Add($"{name} {Text(array)} -> {tensor.Shape}");
            }
            else if (replaceHead && IsHead(name))
            {
                replaced.Add(name);
            }
            else
            {
                throw new EspalierException($"{source}: {name} has shape {Text(array)} in the file but {tensor.Shape} in the model; "
                    + "give the model's true shape with --config");
            }
        }
        string[] lacking = [.. missing.Where(name => !mayMiss(name))];
        if (lacking.Length > 0)
            throw new EspalierException($"{source}: lacks {lacking.Length} of the model's tensors ({LoadReport.Shortened(lacking)}); "
                + "is it a checkpoint of this model?");
        foreach (var (name, _, from) in copies)
        {
            if (!TensorPrimitives.IsFiniteAll<float>(from))
                throw new EspalierException($"{source}: {name} holds NaN or infinite values; the file is damaged or its training "
                    + "diverged");
        }
        foreach (var (_, to, from) in copies) from.CopyTo(to.Span);
        return new LoadReport(matched, resized, missing, [.. arrays.Keys.Where(k => !known.Contains(k))], replaced);
    }

    private static float[] Resized(NamedArray positions, VitConfig config, string source)
    {
        try
        {
            return PositionResize.Run(positions.Data, config.HiddenSize, config.PrefixTokens, config.Grid);
        }
        catch (EspalierException e)
        {
            throw new EspalierException($"{source}: {e.Message}", e);
        }
    }

    private static string Text(NamedArray a) => $"[{string.Join(",", a.Shape)}]";
}
