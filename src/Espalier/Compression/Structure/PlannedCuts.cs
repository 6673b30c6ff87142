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
    public static void Zero(Tensor tensor, int axis, IEnumerable<int> entries)
    {
        foreach (Range range in Elements(tensor.Shape, axis, entries)) tensor.Span[range].Clear();
    }

    /// <summary>Where the elements of some entries along an axis lie; neighbours are one range.</summary>
    public static Range[] Elements(Shape shape, int axis, IEnumerable<int> entries)
    {
        int below = Below(shape, axis), size = shape[axis];
        int outer = checked((int)(shape.Length / Math.Max(1, (long)size * below)));
        var runs = new List<(int Start, int End)>();
        foreach (int entry in entries.Order())
        {
            if (runs.Count > 0 && runs[^1].End == entry) runs[^1] = (runs[^1].Start, entry + 1);
            else runs.Add((entry, entry + 1));
        }
        return [.. from o in Enumerable.Range(0, outer)
                   from run in runs
                   select new Range((o * size + run.Start) * below, (o * size + run.End) * below)];
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

    /// <summary>Elements of one entry of an axis that lie together.</summary>
    internal static int Below(Shape shape, int axis)
    {
        int below = 1;
        for (int i = axis + 1; i < shape.Rank; i++) below *= shape[i];
        return below;
    }
}
