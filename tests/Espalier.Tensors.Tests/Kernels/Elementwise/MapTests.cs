using System.Runtime.CompilerServices;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Kernels.Elementwise;

[Collection("Workers")]
public sealed unsafe class MapTests : IDisposable
{
    private readonly int before = Workers.Threads;

    public void Dispose() => Workers.Threads = before;

    [Fact]
    public void EveryLengthAroundTheVectorsIsDone()
    {
        for (int count = 0; count <= 70; count++)
        {
            using var x = GuardedFloats.Random(count, 1);
            using var y = GuardedFloats.Random(count, 2);
            float[] sum = [.. x.Span.ToArray().Zip(y.Span.ToArray(), (a, b) => a + b)];
            float[] product = [.. x.Span.ToArray().Zip(y.Span.ToArray(), (a, b) => a * b)];
            float[] added = [.. x.Span.ToArray().Zip(y.Span.ToArray(), (a, b) => 3f * a + b)];
            float[] blend = [.. x.Span.ToArray().Zip(y.Span.ToArray(), (a, b) => 3f * a - 2f * b)];
            float[] relu = [.. x.Span.ToArray().Select(v => Math.Max(v, 0f))];
            float[] slope = [.. x.Span.ToArray().Zip(y.Span.ToArray(), (a, b) => a > 0 ? b : 0f)];
            using var z = new GuardedFloats(count);
            Map.Binary(default(AddMap), x.Pointer, y.Pointer, z.Pointer, count);
            Assert.Equal(sum, z.Span.ToArray());
            Map.Binary(default(MultiplyMap), x.Pointer, y.Pointer, z.Pointer, count);
            Assert.Equal(product, z.Span.ToArray());
            Map.Unary(default(ReluMap), x.Pointer, z.Pointer, count);
            Assert.Equal(relu, z.Span.ToArray());
            Map.Binary(default(ReluBackwardMap), x.Pointer, y.Pointer, z.Pointer, count);
            Assert.Equal(slope, z.Span.ToArray());
            Map.Binary(new BlendMap(3f, -2f), x.Pointer, y.Pointer, z.Pointer, count);
            Near.Equal(Array.ConvertAll(blend, v => (double)v), z.Span, 1e-6);
            Map.Binary(new ScaleAddMap(3f), x.Pointer, y.Pointer, y.Pointer, count);
            Near.Equal(Array.ConvertAll(added, v => (double)v), y.Span, 1e-6);
        }
    }

    [Fact]
    public void ReluKeepsNaN()
    {
        using var x = new GuardedFloats(19);
        x.Span.Fill(float.NaN);
        Map.Unary(default(ReluMap), x.Pointer, x.Pointer, x.Length);
        foreach (float v in x.Span) Assert.True(float.IsNaN(v));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(8)]
    public void ThreadsDoAllBlocksOnce(int threads)
    {
        const int Count = 300_001;
        Workers.Threads = threads;
        using var x = new GuardedFloats(Count);
        for (int i = 0; i < Count; i++) x[i] = i;
        Map.Unary(new AffineMap(1f, 1f), x.Pointer, x.Pointer, Count);
        for (int i = 0; i < Count; i++)
        {
            if (x[i] != i + 1f) Assert.Fail($"element {i} is {x[i]}");
        }
    }
}

/// <summary>x * y.</summary>
internal readonly struct MultiplyMap : IBinaryMap
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x, V y) where S : ISimd<V> where V : struct => S.Mul(x, y);
}

/// <summary>a * x + b.</summary>
internal readonly struct AffineMap(float a, float b) : IUnaryMap
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x) where S : ISimd<V> where V : struct => S.Fma(S.Set(a), x, S.Set(b));
}

/// <summary>a * x + y; with z the same memory as y, y += a * x.</summary>
internal readonly struct ScaleAddMap(float a) : IBinaryMap
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x, V y) where S : ISimd<V> where V : struct => S.Fma(S.Set(a), x, y);
}

/// <summary>a * x + b * y: weighted means, exponential averages.</summary>
internal readonly struct BlendMap(float a, float b) : IBinaryMap
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x, V y) where S : ISimd<V> where V : struct => S.Fma(S.Set(a), x, S.Mul(S.Set(b), y));
}

/// <summary>max(x, 0); NaN stays NaN.</summary>
internal readonly struct ReluMap : IUnaryMap
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x) where S : ISimd<V> where V : struct => S.Max(S.Zero, x);
}

/// <summary>From ReLU's input or output x and the gradient of its output: dy where x &gt; 0, else 0.</summary>
internal readonly struct ReluBackwardMap : IBinaryMap
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x, V dy) where S : ISimd<V> where V : struct => S.SelectLess(S.Zero, x, dy, S.Zero);
}
