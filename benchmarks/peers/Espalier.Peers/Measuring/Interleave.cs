using System.Diagnostics;

namespace Espalier.Peers;

/// <summary>Measures lanes in turn in short windows, A B B A A B: neither is always the one after the other.</summary>
internal static class Interleave
{
    private const double WarmUpLimitSeconds = 5;

    // .NET compiles hot methods again in the background 100 ms after the last new one was called.
    private const int CompilerMilliseconds = 150;

    public static Measurement Run(int rounds, int warmUps, double windowSeconds, params Lane[] lanes)
    {
        foreach (Lane lane in lanes) WarmUp(lane, warmUps, windowSeconds);
        var figures = new double[rounds][];
        for (int round = 0; round < rounds; round++)
        {
            figures[round] = new double[lanes.Length];
            for (int place = 0; place < lanes.Length; place++)
            {
                int lane = round % 2 == 0 ? place : lanes.Length - 1 - place;
                figures[round][lane] = lanes[lane].Window(windowSeconds);
            }
        }
        return new Measurement(figures);
    }

    private static void WarmUp(Lane lane, int windows, double seconds)
    {
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < windows && Stopwatch.GetElapsedTime(start).TotalSeconds < WarmUpLimitSeconds; i++)
        {
            lane.Window(seconds);
            Thread.Sleep(CompilerMilliseconds);
        }
    }
}
