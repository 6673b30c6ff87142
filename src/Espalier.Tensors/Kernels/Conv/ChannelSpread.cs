using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// A list of channels of NHWC pixels, picked or with gaps between them: y[k] = x[from[k]] + shift[k], and only shift[k] where from[k] is
/// negative. As many results as come from one vector of neighbours are permuted from it at once, since a list that only leaves channels
/// out keeps their order; this is several times as fast as <see cref="ChannelMoves"/> where no two neighbours stay together. Native
/// memory; the owner disposes it.
/// </summary>
internal sealed unsafe class ChannelSpread : IDisposable
{
    /// <summary>Channels that are looked at together.</summary>
    private static readonly int Lanes = Vector512.IsHardwareAccelerated ? 16 : 8;

    private readonly NativeFloats memory;
    private readonly int count, groups, rest;
    private readonly bool shifted;

    /// <param name="from">Each of <paramref name="channels"/>, or negative for none.</param>
    /// <param name="shift">As many; null for none.</param>
    public ChannelSpread(ReadOnlySpan<int> from, int channels, ReadOnlySpan<float> shift)
    {
        if (shift.Length > 0 && shift.Length != from.Length) throw new ArgumentException("a shift for each channel is wanted");
        (count, shifted) = (from.Length, shift.ContainsAnyExcept(0f));
        List<(int At, int Count, int Start)> parts = Parts(from, channels);
        // A vector is stored whole, and the next one over its end; what the last ones would store behind the pixel is done one by one.
        int length = from.Length, late = parts.FindIndex(p => p.At + Lanes > length);
        groups = channels < Lanes ? 0 : late < 0 ? parts.Count : late;
        rest = groups < parts.Count ? parts[groups].At : from.Length;
        // Of each group: shifts, lanes to take, where the neighbours begin and where the results do; of all results where they come from
        // and their shift.
        memory = new NativeFloats(groups * (nint)(2 * Lanes + 2) + 2 * count);
        int* lanes = Ints + groups * Lanes, ends = lanes + groups * Lanes, sources = ends + 2 * groups;
        for (int g = 0; g < groups; g++)
        {
            (ends[2 * g], ends[2 * g + 1]) = (parts[g].Start, parts[g].At);
            for (int k = 0; k < Lanes; k++)
            {
                bool mine = k < parts[g].Count;
                int source = mine ? from[parts[g].At + k] : -1;
                lanes[g * Lanes + k] = source < 0 ? -1 : source - parts[g].Start;
                memory.Data[g * Lanes + k] = mine && shift.Length > 0 ? shift[parts[g].At + k] : 0;
            }
        }
        for (int k = 0; k < count; k++)
        {
            sources[k] = from[k];
            ((float*)sources)[count + k] = shift.Length == 0 ? 0 : shift[k];
        }
    }

    private int* Ints => (int*)memory.Data;

    /// <summary>Vectors that a pixel takes; where they are hardly fewer than the runs of neighbours, moving these is as fast.</summary>
    public static int Vectors(ReadOnlySpan<int> from, int channels) => Parts(from, channels).Count;

    /// <param name="ldx">Floats between the pixels of x.</param>
    /// <param name="y">Must not overlap x.</param>
    public void Run(int pixels, float* x, int ldx, float* y, int ldy)
    {
        Workers.For(pixels, Grain.For(count), new Job(memory.Data, Lanes, count, groups, rest, shifted, x, ldx, y, ldy));
        GC.KeepAlive(this);
    }

    public void Dispose() => memory.Dispose();

    /// <summary>Results after one another that lie within a vector of channels: where they begin, how many, and where the vector does.
    /// With fewer channels than a vector has each result stands alone.</summary>
    private static List<(int At, int Count, int Start)> Parts(ReadOnlySpan<int> from, int channels)
    {
        var parts = new List<(int, int, int)>();
        for (int at = 0; at < from.Length;)
        {
            int least = int.MaxValue, most = -1, k = at;
            for (; k < from.Length && k - at < Lanes; k++)
            {
                if (from[k] < 0) continue;
                int low = Math.Min(least, from[k]), high = Math.Max(most, from[k]);
                if (high - low >= Lanes || (k > at && channels < Lanes)) break;
                (least, most) = (low, high);
            }
            parts.Add((at, k - at, Math.Max(0, Math.Min(least, channels - Lanes))));
            at = k;
        }
        return parts;
    }

    private readonly struct Job(float* shift, int lanes, int count, int groups, int rest, bool shifted, float* x, nint ldx, float* y, nint ldy)
        : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (nint pixel = start; pixel < end; pixel++)
            {
                if (lanes == 16) Wide(x + (pixel * ldx), y + (pixel * ldy));
                else Narrow(x + (pixel * ldx), y + (pixel * ldy));
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private void Wide(float* from, float* to)
        {
            int* picks = (int*)(shift + groups * 16), ends = picks + groups * 16;
            for (int g = 0; g < groups; g++)
            {
                // Lanes past the end, of which -1 is one, give zero.
                Vector512<float> values = Vector512.Shuffle(Vector512.Load(from + ends[2 * g]), Vector512.Load(picks + g * 16));
                if (shifted) values += Vector512.Load(shift + g * 16);
                values.Store(to + ends[2 * g + 1]);
            }
            Rest(ends + 2 * groups, from, to);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private void Narrow(float* from, float* to)
        {
            int* picks = (int*)(shift + groups * 8), ends = picks + groups * 8;
            for (int g = 0; g < groups; g++)
            {
                Vector256<float> values = Vector256.Shuffle(Vector256.Load(from + ends[2 * g]), Vector256.Load(picks + g * 8));
                if (shifted) values += Vector256.Load(shift + g * 8);
                values.Store(to + ends[2 * g + 1]);
            }
            Rest(ends + 2 * groups, from, to);
        }

        private void Rest(int* sources, float* from, float* to)
        {
            float* shifts = (float*)sources + count;
            for (int k = rest; k < count; k++) to[k] = (sources[k] < 0 ? 0 : from[sources[k]]) + shifts[k];
        }
    }
}
