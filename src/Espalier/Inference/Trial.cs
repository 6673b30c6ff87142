using System.Diagnostics;

namespace Espalier.Inference;

/// <summary>Two ways to do the same, timed on the calls that come anyway, in turn, until it is clear which is faster.</summary>
/// <param name="first">The way that is the faster one by all that is known before.</param>
internal sealed class Trial(bool first)
{
    /// <summary>Calls of each way that are timed at least, after one that is not.</summary>
    private const int Calls = 3;

    /// <summary>A way that takes so many times as long as the other is not tried again.</summary>
    private const double Hopeless = 1.5;

    /// <summary>Time that trying takes at least: the runtime compiles what is slow at first once more.</summary>
    private static readonly long Least = Stopwatch.Frequency / 4;

    private readonly long started = Stopwatch.GetTimestamp();
    private readonly bool first = first;
    private bool best = first, done;
    private int calls;
    private double fastestFirst = double.MaxValue, fastestOther = double.MaxValue;

    /// <summary>The way of the next call.</summary>
    public bool Way => done || calls % 2 == 0 ? best : !best;

    /// <summary>A call has been done in a way.</summary>
    /// <param name="ticks">How long it took, by the stopwatch.</param>
    public void Note(bool way, double ticks)
    {
        if (done) return;
        if (calls >= 2 && way == first) fastestFirst = Math.Min(fastestFirst, ticks);
        else if (calls >= 2) fastestOther = Math.Min(fastestOther, ticks);
        calls++;
        if (calls % 2 != 0 || calls < 4 || Stopwatch.GetTimestamp() - started < Least) return;
        double slower = Math.Max(fastestFirst, fastestOther), faster = Math.Min(fastestFirst, fastestOther);
        if (calls < 2 * (1 + Calls) && slower < Hopeless * faster) return;
        (done, best) = (true, fastestFirst <= fastestOther ? first : !first);
    }
}
