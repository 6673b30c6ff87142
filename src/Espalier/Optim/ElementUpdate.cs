using System.Numerics;
using Espalier.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Optim;

/// <summary>
/// What happens to one element: source x, target y, and up to two state values. A struct, so that it is inlined.
/// </summary>
internal interface IElementRule
{
    /// <summary>How many of the two state arrays exist.</summary>
    static abstract int States { get; }

    void Apply(Vector<float> x, ref Vector<float> y, ref Vector<float> a, ref Vector<float> b);
}

/// <summary>
/// One pass over source, target and state arrays of equal length. Multiplications and additions stay separate (no fused
/// multiply-add), so that an element's result depends neither on the vector width nor on where threads split the array.
/// </summary>
internal static unsafe class ElementUpdate
{
    /// <summary>Elements in a block, and blocks that are worth a thread.</summary>
    public const int Block = 1024, Grain = 16;

    /// <param name="a">First state; ignored where the rule has none.</param>
    /// <param name="b">Second state; ignored where the rule has fewer.</param>
    public static void Run<TRule>(in TRule rule, Tensor x, Tensor y, Tensor? a, Tensor? b) where TRule : struct, IElementRule
    {
        if (x.Length != y.Length) throw new ArgumentException($"{x} and {y} differ in size");
        var job = new Job<TRule> { Rule = rule, X = x.Data, Y = y.Data, Length = y.Length };
        if (TRule.States > 0) job.A = a!.Data;
        if (TRule.States > 1) job.B = b!.Data;
        Workers.For(Blocks(y.Length), Grain, job);
    }

    /// <summary>The unit in which arrays are split over threads.</summary>
    public static int Blocks(long length) => checked((int)((length + Block - 1) / Block));

    private static void Range<TRule>(TRule rule, float* x, float* y, float* a, float* b, long n)
        where TRule : struct, IElementRule
    {
        int width = Vector<float>.Count;
        long i = 0;
        Vector<float> va = default, vb = default;
        for (; i + width <= n; i += width)
        {
            if (TRule.States > 0) va = Vector.Load(a + i);
            if (TRule.States > 1) vb = Vector.Load(b + i);
            Vector<float> vy = Vector.Load(y + i);
            rule.Apply(Vector.Load(x + i), ref vy, ref va, ref vb);
            vy.Store(y + i);
            if (TRule.States > 0) va.Store(a + i);
            if (TRule.States > 1) vb.Store(b + i);
        }
        if (i < n) Tail(rule, x + i, y + i, a + i, b + i, (int)(n - i));
    }

    /// <summary>The last few elements, through padded copies, so that the rule exists in one form only.</summary>
    private static void Tail<TRule>(TRule rule, float* x, float* y, float* a, float* b, int n) where TRule : struct, IElementRule
    {
        int width = Vector<float>.Count;
        Span<float> pad = stackalloc float[4 * width];
        pad.Clear();
        Span<float> px = pad[..width], py = pad.Slice(width, width), pa = pad.Slice(2 * width, width), pb = pad[(3 * width)..];
        new ReadOnlySpan<float>(x, n).CopyTo(px);
        new ReadOnlySpan<float>(y, n).CopyTo(py);
        if (TRule.States > 0) new ReadOnlySpan<float>(a, n).CopyTo(pa);
        if (TRule.States > 1) new ReadOnlySpan<float>(b, n).CopyTo(pb);
        Vector<float> vy = new(py), va = new(pa), vb = new(pb);
        rule.Apply(new Vector<float>(px), ref vy, ref va, ref vb);
        vy.CopyTo(py);
        va.CopyTo(pa);
        vb.CopyTo(pb);
        py[..n].CopyTo(new Span<float>(y, n));
        if (TRule.States > 0) pa[..n].CopyTo(new Span<float>(a, n));
        if (TRule.States > 1) pb[..n].CopyTo(new Span<float>(b, n));
    }

    private struct Job<TRule> : IRangeJob where TRule : struct, IElementRule
    {
        public TRule Rule;
        public float* X, Y, A, B;
        public long Length;

        public readonly void Run(int start, int end, int worker)
        {
            long first = (long)start * Block;
            Range(Rule, X + first, Y + first, A + first, B + first, Math.Min(Length, (long)end * Block) - first);
        }
    }
}
