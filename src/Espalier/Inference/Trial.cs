using System.Diagnostics;

namespace Espalier.Inference;

/// <summary>
/// Two ways to do the same, timed on the calls that come anyway, a few in the one way and then two in the other. The one that is
/// faster at its best is taken. The other one is tried again from time to time, the more seldom the slower it is, so that
/// neither a busy moment nor what the machine was like at first decides for good.
/// </summary>
/// <param name="first">The way that is the faster one by all that is known before.</param>
internal sealed class Trial(bool first)
{
    /// <summary>Calls in a row that are timed; the quicker one counts, as the first one finds the caches full of something else.
    /// </summary>
    private const int Timed = 2;

    /// <summary>Comparisons that are remembered. Of these the best times count: what disturbs only makes slower.</summary>
    private const int Memory = 8;

    /// <summary>How many times as fast the other way must be to take the place of the first: less is what chance makes of equal
    /// ways.</summary>
    private const double Gain = 1.03;

    /// <summary>A way that takes so many times as long is not tried again at once.</summary>
    private const double Hopeless = 1.5;

    /// <summary>The share of the time that trying the slower way may cost in the end.</summary>
    private const double Cost = 0.004;

    /// <summary>Calls between two comparisons in the end, however near or far the two ways are; and how many times as many as
    /// before until then.</summary>
    private const int Fewest = 64, Most = 2048, Growth = 4;

    /// <summary>Time that the two are compared all the time: the runtime compiles what is slow at first once more.</summary>
    private static readonly double Learning = Stopwatch.Frequency / 4;

    /// <summary>A call that takes so long fills the caches itself: one is timed, and the first one says something already.</summary>
    private static readonly double Long = Stopwatch.Frequency / 50;

    /// <summary>Of long calls, how many times as long the other way must take to be left alone for a while: few of them are made, so
    /// that each one in the slower way counts.</summary>
    private const double Clear = 1.05;

    private readonly double[] presentTimes = Unknown(), otherTimes = Unknown();
    private readonly bool first = first;
    private bool present = first, asksOther;
    private int gap = Timed, left = Timed, comparisons;
    private double spent, presentBest = double.MaxValue, otherBest = double.MaxValue;

    /// <summary>The way of the next call.</summary>
    public bool Way => asksOther ? !present : present;

    /// <summary>A call has been done in <see cref="Way"/>.</summary>
    /// <param name="ticks">How long it took, by the stopwatch.</param>
    public void Note(double ticks, int images)
    {
        spent += ticks;
        if (asksOther) otherBest = Math.Min(otherBest, ticks / images);
        else if (left <= Timed) presentBest = Math.Min(presentBest, ticks / images);
        if (--left > 0 && !(asksOther && ticks >= Long)) return;
        if (asksOther) Compare(ticks >= Long);
        asksOther = !asksOther;
        left = asksOther ? Timed : gap;
    }

    private void Compare(bool isLong)
    {
        // What the first short calls take says nothing.
        int at = Math.Max(0, comparisons - 1) % Memory;
        (presentTimes[at], otherTimes[at]) = (presentBest, otherBest);
        presentBest = otherBest = double.MaxValue;
        if (++comparisons == 1 && !isLong) return;
        double slower = otherTimes.Min() / presentTimes.Min(), gain = present == first ? Gain : 1 / Gain;
        if (slower * gain < 1)
        {
            for (int i = 0; i < Memory; i++) (presentTimes[i], otherTimes[i]) = (otherTimes[i], presentTimes[i]);
            present = !present;
            // Compare() is called in a turn of the other way, which now is the present one.
            gap = Timed;
        }
        else if (isLong && slower > Clear)
        {
            gap = Math.Clamp(Growth * gap, Fewest, Most);
        }
        else if (spent >= Learning || slower > Hopeless)
        {
            gap = Math.Min(Growth * gap, (int)Math.Clamp(Timed * (slower - 1) / Cost, Fewest, Most));
        }
    }

    private static double[] Unknown()
    {
        double[] times = new double[Memory];
        Array.Fill(times, double.MaxValue);
        return times;
    }
}
