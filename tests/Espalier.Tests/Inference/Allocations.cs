namespace Espalier.Tests.Inference;

/// <summary>Whether calls allocate once they are warm.</summary>
internal static class Allocations
{
    /// <summary>Calls in a row that must allocate nothing: more than the ways that a session tries in turn.</summary>
    private const int Quiet = 5;

    /// <summary>Calls until then. The runtime itself allocates when something happens for the first time, such as that a thread
    /// waits for another one so long that it goes to sleep: on a busy machine that may be at any call.</summary>
    private const int Most = 60;

    /// <summary>The call comes to allocate nothing on this thread, and then stays so.</summary>
    public static void AssertNone(Action call)
    {
        long bytes = 0;
        for (int calls = 0, quiet = 0; calls < Most; calls++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            call();
            bytes = GC.GetAllocatedBytesForCurrentThread() - before;
            quiet = bytes == 0 ? quiet + 1 : 0;
            if (quiet == Quiet) return;
        }
        Assert.Fail($"after {Most} calls one still allocates, the last one {bytes} bytes");
    }
}
