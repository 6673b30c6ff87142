using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>The entries of each axis of each tensor that a plan removes.</summary>
internal sealed class PlannedCuts
{
    private readonly Dictionary<Tensor, SortedDictionary<int, SortedSet<int>>> removed = [];

    public PlannedCuts(DependencyGraph graph, RemovalPlan plan)
    {
        foreach (var (name, channels) in plan.Channels)
        {
            foreach (GroupSlice slice in graph[name].Slices)
            {
                if (!removed.TryGetValue(slice.Tensor, out var axes)) removed.Add(slice.Tensor, axes = []);
                if (!axes.TryGetValue(slice.Axis, out SortedSet<int>? entries)) axes.Add(slice.Axis, entries = []);
                foreach (int channel in channels) entries.UnionWith(slice.Entries[channel]);
            }
        }
    }

    public IEnumerable<Tensor> Tensors => removed.Keys;

    public bool Touches(Tensor tensor) => removed.ContainsKey(tensor);

    /// <summary>How many entries each axis has left that loses some.</summary>
    public IEnumerable<(Tensor Tensor, int Axis, int Left)> Lengths() =>
        removed.SelectMany(t => t.Value.Select(a => (t.Key, a.Key, t.Key.Shape[a.Key] - a.Value.Count)));

    public int[] Of(Tensor tensor, int axis) =>
        removed.TryGetValue(tensor, out var axes) && axes.TryGetValue(axis, out SortedSet<int>? entries) ? [.. entries] : [];

    public Shape ShapeOf(Tensor tensor)
    {
        Shape shape = tensor.Shape;
        if (!removed.TryGetValue(tensor, out var axes)) return shape;
        foreach (var (axis, entries) in axes) shape = shape.With(axis, shape[axis] - entries.Count);
        return shape;
    }

    /// <summary>What remains of <paramref name="source"/>, which has the shape of <paramref name="tensor"/>; unscoped.</summary>
    public Tensor Cut(Tensor tensor, Tensor source)
    {
        Tensor? last = null;
        foreach (var (axis, entries) in removed[tensor])
        {
            Tensor next = Without(last ?? source, axis, entries);
            last?.Dispose();
            last = next;
        }
        return last!;
    }

    /// <summary>Sets the entries along one axis to zero.</summary>
    public static unsafe void Zero(Tensor tensor, int axis, IEnumerable<int> entries)
    {
        int below = Below(tensor.Shape, axis), size = tensor.Shape[axis];
        long outer = tensor.Length / Math.Max(1, (long)size * below);
        foreach (int entry in entries)
            for (long o = 0; o < outer; o++) new Span<float>(tensor.Data + (o * size + entry) * below, below).Clear();
    }

    private static unsafe Tensor Without(Tensor source, int axis, SortedSet<int> entries)
    {
        int size = source.Shape[axis], below = Below(source.Shape, axis);
        int[] kept = [.. Enumerable.Range(0, size).Where(i => !entries.Contains(i))];
        Tensor result = Tensor.Unscoped(source.Shape.With(axis, kept.Length));
        long outer = source.Length / Math.Max(1, (long)size * below);
        float* to = result.Data;
        for (long o = 0; o < outer; o++)
        {
            foreach (int entry in kept)
            {
                new ReadOnlySpan<float>(source.Data + (o * size + entry) * below, below).CopyTo(new Span<float>(to, below));
                to += below;
            }
        }
        return result;
    }

    private static int Below(Shape shape, int axis)
    {
        int below = 1;
        for (int i = axis + 1; i < shape.Rank; i++) below *= shape[i];
        return below;
    }
}
