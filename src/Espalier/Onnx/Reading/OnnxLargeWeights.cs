using Espalier.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Onnx;

/// <summary>
/// Weights whose numbers nobody needs to know while the graph is put together. They are copied from the file in the end, by all
/// threads: most of the time goes into memory that the system hands out when it is written to first.
/// </summary>
internal sealed class OnnxLargeWeights
{
    /// <summary>Numbers that are not worth a delay.</summary>
    private const int Few = 1 << 14;

    private readonly List<(GraphValue Weight, Action<Span<float>> Fill)> waiting = [];
    private int next;

    /// <summary>Whether a weight may wait.</summary>
    public static bool IsLarge(Shape shape) => shape.Rank > 1 && shape.Length > Few;

    public void Add(GraphValue weight, Action<Span<float>> fill) => waiting.Add((weight, fill));

    /// <summary>Copies those of which nobody has said meanwhile that they are not needed.</summary>
    /// <param name="needed">The graph's weights by their names.</param>
    /// <exception cref="InvalidDataException">The file is damaged; or became shorter meanwhile.</exception>
    public void Read(IReadOnlyDictionary<string, GraphValue> needed)
    {
        waiting.RemoveAll(w => needed.GetValueOrDefault(w.Weight.Name) != w.Weight);
        next = -1;
        Workers.For(Workers.Threads, 1, new Job(this));
        waiting.Clear();
    }

    private void ReadSome()
    {
        for (int i; (i = Interlocked.Increment(ref next)) < waiting.Count;) waiting[i].Fill(waiting[i].Weight.Tensor.Span);
    }

    private readonly struct Job(OnnxLargeWeights weights) : IRangeJob
    {
        public void Run(int start, int end, int worker) => weights.ReadSome();
    }
}
