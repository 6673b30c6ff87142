using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>y = f(x), element by element: written once, for a vector of any width.</summary>
internal interface IUnaryMap
{
    V Run<S, V>(V x) where S : ISimd<V> where V : struct;
}

/// <summary>z = f(x, y), element by element.</summary>
internal interface IBinaryMap
{
    V Run<S, V>(V x, V y) where S : ISimd<V> where V : struct;
}

/// <summary>x + y.</summary>
internal readonly struct AddMap : IBinaryMap
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V x, V y) where S : ISimd<V> where V : struct => S.Add(x, y);
}

/// <summary>
/// The loops, tails and threads of elementwise operations, once for all of them. An output may be the same memory as an
/// input, but must not overlap it otherwise. What System.Numerics.Tensors does in one pass over a few thousand elements is
/// better called there; these add threads, and operations of several steps in one pass.
/// </summary>
internal static unsafe class Map
{
    // Elements in a unit of work, and the fewest units worth a thread: 32 k elements are some 10 microseconds.
    private const int Block = 4096, Grain = 8;

    /// <summary>y[i] = op(x[i]), i &lt; count.</summary>
    public static void Unary<TMap>(in TMap op, float* x, float* y, nint count) where TMap : struct, IUnaryMap
    {
        if (Hardware.Has512) Unary<Simd512, Vector512<float>, TMap>(op, x, y, count);
        else if (Hardware.Has256) Unary<Simd256, Vector256<float>, TMap>(op, x, y, count);
        else Unary<Simd128, Vector128<float>, TMap>(op, x, y, count);
    }

    /// <summary>z[i] = op(x[i], y[i]), i &lt; count.</summary>
    public static void Binary<TMap>(in TMap op, float* x, float* y, float* z, nint count) where TMap : struct, IBinaryMap
    {
        if (Hardware.Has512) Binary<Simd512, Vector512<float>, TMap>(op, x, y, z, count);
        else if (Hardware.Has256) Binary<Simd256, Vector256<float>, TMap>(op, x, y, z, count);
        else Binary<Simd128, Vector128<float>, TMap>(op, x, y, z, count);
    }

    private static void Unary<S, V, TMap>(in TMap op, float* x, float* y, nint count)
        where S : ISimd<V> where V : struct where TMap : struct, IUnaryMap =>
        Workers.For(Blocks(count), Grain, new UnaryJob<S, V, TMap>(op, x, y, count));

    private static void Binary<S, V, TMap>(in TMap op, float* x, float* y, float* z, nint count)
        where S : ISimd<V> where V : struct where TMap : struct, IBinaryMap =>
        Workers.For(Blocks(count), Grain, new BinaryJob<S, V, TMap>(op, x, y, z, count));

    private static int Blocks(nint count) => checked((int)((count + Block - 1) / Block));

    private readonly struct UnaryJob<S, V, TMap>(TMap op, float* x, float* y, nint count) : IRangeJob
        where S : ISimd<V> where V : struct where TMap : struct, IUnaryMap
    {
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Run(int start, int end, int worker)
        {
            TMap f = op;
            float* source = x, target = y;
            nint i = (nint)start * Block, stop = Math.Min(count, (nint)end * Block);
            for (; i <= stop - S.Width; i += S.Width) S.Store(f.Run<S, V>(S.Load(source + i)), target + i);
            for (; i < stop; i++) target[i] = f.Run<Scalar, float>(source[i]);
        }
    }

    private readonly struct BinaryJob<S, V, TMap>(TMap op, float* x, float* y, float* z, nint count) : IRangeJob
        where S : ISimd<V> where V : struct where TMap : struct, IBinaryMap
    {
        [MethodImpl(MethodImplOptions.NoInlining)]
        public void Run(int start, int end, int worker)
        {
            TMap f = op;
            float* left = x, right = y, target = z;
            nint i = (nint)start * Block, stop = Math.Min(count, (nint)end * Block);
            for (; i <= stop - S.Width; i += S.Width) S.Store(f.Run<S, V>(S.Load(left + i), S.Load(right + i)), target + i);
            for (; i < stop; i++) target[i] = f.Run<Scalar, float>(left[i], right[i]);
        }
    }
}
