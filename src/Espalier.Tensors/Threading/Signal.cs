using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Espalier.Tensors.Threading;

/// <summary>A number that one thread sets and one other waits for: first spinning, as a kernel's next piece of work is
/// usually microseconds away, then asleep. Neither side allocates.</summary>
internal sealed class Signal
{
    // Longer than the gaps that a network leaves between two kernels, so that its threads stay awake throughout: waking one
    // takes some ten microseconds, handing over to one that spins less than one.
    private static readonly long SpinTicks = Stopwatch.Frequency / 1_000_000 * 100;

    private readonly SemaphoreSlim wake = new(0);
    private State state;

    /// <summary>The number last set.</summary>
    public int Value => Volatile.Read(ref state.Value);

    /// <summary>Stores <paramref name="value"/>, which must differ from the number before it, and wakes the waiter.</summary>
    public void Set(int value)
    {
        Volatile.Write(ref state.Value, value);

        // The exchange is a full fence: the waiter either sees the new value or is seen here as asleep.
        if (Interlocked.Exchange(ref state.Asleep, 0) == 1)
        {
            wake.Release();
        }
    }

    /// <summary>Waits until the number is no longer <paramref name="old"/>, and returns it.</summary>
    public int WaitWhile(int old)
    {
        if (Spin(old, equal: false))
        {
            return Value;
        }

        while (Value == old)
        {
            Sleep(old, equal: false);
        }

        return Value;
    }

    /// <summary>Waits until the number is <paramref name="value"/>.</summary>
    public void WaitFor(int value)
    {
        if (Spin(value, equal: true))
        {
            return;
        }

        while (Value != value)
        {
            Sleep(value, equal: true);
        }
    }

    private bool Spin(int value, bool equal)
    {
        // With more threads than processors, spinning would keep from work the very thread that is waited for.
        long ticks = Workers.Threads <= Environment.ProcessorCount ? SpinTicks : 0;
        long start = Stopwatch.GetTimestamp();
        do
        {
            if ((Value == value) == equal)
            {
                return true;
            }

            Thread.SpinWait(1);
        }
        while (Stopwatch.GetTimestamp() - start < ticks);
        return false;
    }

    private void Sleep(int value, bool equal)
    {
        Interlocked.Exchange(ref state.Asleep, 1);
        bool ready = (Value == value) == equal;

        // Already there and not yet seen asleep: take the flag back. Otherwise the setter owes one release.
        if (!ready || Interlocked.CompareExchange(ref state.Asleep, 0, 1) != 1)
        {
            wake.Wait();
        }
    }

    // Both words on lines that nothing else touches: neighbours' writes would disturb the spinning.
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    private struct State
    {
        [FieldOffset(128)]
        public int Value;

        [FieldOffset(132)]
        public int Asleep;
    }
}
