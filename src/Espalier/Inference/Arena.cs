namespace Espalier.Inference;

/// <summary>
/// Where each map lies in one block of memory for one image. Maps that are never needed at the same time share floats: the
/// largest are placed first, each at the lowest place that is free for as long as it lives. For n images all offsets count n
/// times.
/// </summary>
internal sealed class Arena
{
    private const int Line = 16;

    private readonly Dictionary<Map, long> offsets = [];

    public Arena(NetGraph graph)
    {
        var lives = new Dictionary<Map, Life>();
        Touch(graph.Input, -1);
        for (int i = 0; i < graph.Layers.Count; i++)
        {
            Touch(graph.Layers[i].Output, i);
            foreach (Map map in graph.Layers[i].Inputs) Touch(map, i);
        }
        foreach (Map output in graph.Outputs) Touch(output, graph.Layers.Count);
        var placed = new List<(long Start, long End, Life Life)>();
        foreach (var (root, life) in lives.OrderByDescending(l => Size(l.Key)).ThenBy(l => l.Value.First))
        {
            long start = 0, size = Size(root);
            foreach (var other in placed.Where(p => p.Life.Overlaps(life)).OrderBy(p => p.Start))
            {
                if (other.Start >= start + size) break;
                start = Math.Max(start, other.End);
            }
            placed.Add((start, start + size, life));
            offsets[root] = start;
            FloatsPerImage = Math.Max(FloatsPerImage, start + size);
        }

        void Touch(Map map, int step)
        {
            Life life = lives.GetValueOrDefault(map.Root, new Life(step, step));
            lives[map.Root] = new Life(Math.Min(life.First, step), Math.Max(life.Last, step));
        }
    }

    public long FloatsPerImage { get; }

    public Place this[Map map] => new(offsets[map.Root], map.FirstOfRoot, map.Stride);

    /// <summary>Of codes with a line more: kernels read a few bytes past the last pixel.</summary>
    private static long Size(Map root)
    {
        long count = (long)root.Pixels * root.Stride, floats = root.Codes is null ? count : count / sizeof(float) + Line;
        return (floats + Line - 1) / Line * Line;
    }

    /// <summary>The first and the last step at which something is in a map's memory.</summary>
    private readonly record struct Life(int First, int Last)
    {
        public bool Overlaps(Life other) => First <= other.Last && other.First <= Last;
    }
}

/// <summary>Where the pixels of some maps are.</summary>
/// <param name="Offset">Floats of one image before them.</param>
/// <param name="FirstChannel">Where the first of their pixels begins there.</param>
/// <param name="Stride">Floats, or bytes of codes, from one pixel to the next.</param>
internal readonly unsafe record struct Place(long Offset, int FirstChannel, int Stride)
{
    /// <summary>The first pixel of the first image.</summary>
    public float* In(Lane lane) => lane.Memory + Offset * lane.Images + FirstChannel;

    /// <summary>The same of codes.</summary>
    public byte* CodesIn(Lane lane) => (byte*)(lane.Memory + Offset * lane.Images) + FirstChannel;
}
