using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// A list of channels of NHWC pixels, with gaps: y[k] = x[from[k]] + shift[k], and only shift[k] where from[k] is negative. Eight
/// results at a time are permuted from eight neighbours, since a list that only leaves channels out keeps their order; this is
/// several times as fast as <see cref="ChannelMoves"/> where no two neighbours stay together. Native memory; the owner disposes it.
/// </summary>
internal sealed unsafe class ChannelSpread : IDisposable
{
    /// <summary>Channels that are done together.</summary>
    public const int Lanes = 8;

    private readonly NativeFloats memory;
    private readonly int count, groups;
    private readonly bool shifted;

    /// <param name="from">At least eight, for which <see cref="Takes"/> holds.</param>
    /// <param name="shift">As many; null for none.</param>
    public ChannelSpread(ReadOnlySpan<int> from, int channels, ReadOnlySpan<float> shift)
    {
        if (!Takes(from, channels)) throw new ArgumentException($"{from.Length} of {channels} channels lie too far apart");
        if (shift.Length > 0 && shift.Length != from.Length) throw new ArgumentException("a shift for each channel is wanted");
        (count, groups, shifted) = (from.Length, (from.Length + Lanes - 1) / Lanes, shift.ContainsAnyExcept(0f));
        // Of each group: eight shifts, eight lanes to take, and where the neighbours begin.
        memory = new NativeFloats(groups * (nint)(2 * Lanes + 1));
        int* lanes = (int*)(memory.Data + groups * Lanes), starts = lanes + groups * Lanes;
        for (int g = 0; g < groups; g++)
        {
            int first = First(g, count);
            ReadOnlySpan<int> part = from.Slice(first, Lanes);
            starts[g] = Start(part, channels).First;
            for (int k = 0; k < Lanes; k++)
            {
                lanes[g * Lanes + k] = part[k] < 0 ? -1 : part[k] - starts[g];
                memory.Data[g * Lanes + k] = shift.Length == 0 ? 0 : shift[first + k];
            }
        }
    }

    /// <summary>Whether each eight results lie within eight channels.</summary>
    public static bool Takes(ReadOnlySpan<int> from, int channels)
    {
        if (from.Length < Lanes || channels < Lanes) return false;
        for (int g = 0; g * Lanes < from.Length; g++)
            if (!Start(from.Slice(First(g, from.Length), Lanes), channels).Fits) return false;
        return true;
    }

    /// <param name="ldx">Floats between the pixels of x.</param>
    /// <param name="y">Must not overlap x.</param>
    public void Run(int pixels, float* x, int ldx, float* y, int ldy)
    {
        Workers.For(pixels, Grain.For(count), new Job(memory.Data, count, groups, shifted, x, ldx, y, ldy));
        GC.KeepAlive(this);
    }

    public void Dispose() => memory.Dispose();

    /// <summary>The last group ends with the last channel, and so does some channels again.</summary>
    private static int First(int group, int count) => Math.Min(group * Lanes, count - Lanes);

    private static (int First, bool Fits) Start(ReadOnlySpan<int> part, int channels)
    {
        int least = int.MaxValue, most = -1;
        foreach (int c in part)
        {
            if (c < 0) continue;
            (least, most) = (Math.Min(least, c), Math.Max(most, c));
        }
        int first = Math.Min(least, channels - Lanes);
        return (first, most < first + Lanes);
    }

    private readonly struct Job(float* shift, int count, int groups, bool shifted, float* x, nint ldx, float* y, nint ldy) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (nint pixel = start; pixel < end; pixel++) Pixel(x + (pixel * ldx), y + (pixel * ldy));
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private void Pixel(float* from, float* to)
        {
            int* lanes = (int*)(shift + groups * Lanes), starts = lanes + groups * Lanes;
            for (int g = 0; g < groups; g++)
            {
                // Lanes past the end, of which -1 is one, give zero.
                Vector256<float> values = Vector256.Shuffle(
                    Vector256.Load(from + starts[g]), Vector256.Load(lanes + g * Lanes));
                if (shifted) values += Vector256.Load(shift + g * Lanes);
                values.Store(to + Math.Min(g * Lanes, count - Lanes));
            }
        }
    }
}
