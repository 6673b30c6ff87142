using System.Runtime.CompilerServices;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Copies channels of NHWC pixels to other places: channel from[k] of x becomes channel to[k] of y. Channels that stay
/// neighbours are copied together. Native memory; the owner disposes it.</summary>
internal sealed unsafe class ChannelMoves : IDisposable
{
    private readonly NativeFloats memory;
    private readonly int count, channels;

    public ChannelMoves(ReadOnlySpan<int> from, ReadOnlySpan<int> to)
    {
        if (from.Length != to.Length) throw new ArgumentException($"{from.Length} channels to {to.Length} places");
        channels = from.Length;
        // At most one run a channel, three whole numbers each.
        memory = new NativeFloats(3 * (nint)channels);
        int* run = (int*)memory.Data;
        for (int k = 0; k < channels; k++)
        {
            bool goesOn = k > 0 && from[k] == from[k - 1] + 1 && to[k] == to[k - 1] + 1;
            if (goesOn) run[3 * (count - 1) + 2]++;
            else (run[3 * count], run[3 * count + 1], run[3 * count + 2], count) = (from[k], to[k], 1, count + 1);
        }
    }

    /// <param name="ldx">Floats between the pixels of x; 0 to give all pixels the values of one.</param>
    public void Run(int pixels, float* x, int ldx, float* y, int ldy)
    {
        Workers.For(pixels, Grain.For(2L * channels), new Job((int*)memory.Data, count, x, ldx, y, ldy));
        GC.KeepAlive(this);
    }

    public void Dispose() => memory.Dispose();

    private readonly struct Job(int* runs, int count, float* x, nint ldx, float* y, nint ldy) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (nint pixel = start; pixel < end; pixel++) Pixel(x + (pixel * ldx), y + (pixel * ldy));
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private void Pixel(float* from, float* to)
        {
            int* run = runs;
            for (int i = count; i > 0; i--, run += 3)
            {
                float* source = from + run[0], target = to + run[1];
                int length = run[2];
                if (length == 1) *target = *source;
                else new ReadOnlySpan<float>(source, length).CopyTo(new Span<float>(target, length));
            }
        }
    }
}
