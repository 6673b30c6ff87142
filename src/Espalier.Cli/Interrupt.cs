using System.Runtime.InteropServices;
using Espalier.Formats;

namespace Espalier.Cli;

/// <summary>
/// Turns the first SIGINT (Ctrl-C), SIGTERM or SIGHUP (a terminal that is gone) into a cancellation, so that work can be saved; the
/// second ends the process. Work that has nothing to save ends a moment after the first: it may be deep in a computation.
/// </summary>
internal sealed class Interrupt : IDisposable
{
    /// <summary>What a verb gets to end by itself, from the signal or from when it has saved what it had.</summary>
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(0.7);

    private static readonly TimeSpan Look = TimeSpan.FromMilliseconds(50);

    private readonly CancellationTokenSource source = new();
    private readonly TextWriter error;
    private readonly PosixSignalRegistration[] registrations;
    private readonly Lock gate = new();
    private Timer? timer;
    private int held;
    private bool ended;
    private string first = "";
    private DateTime since;

    /// <param name="error">Where it is said that the signal was heard.</param>
    public Interrupt(TextWriter error)
    {
        this.error = error;
        registrations =
        [
            PosixSignalRegistration.Create(PosixSignal.SIGINT, signal => Stop(signal, 130)),
            PosixSignalRegistration.Create(PosixSignal.SIGTERM, signal => Stop(signal, 143)),
            PosixSignalRegistration.Create(PosixSignal.SIGHUP, signal => Stop(signal, 129)),
        ];
    }

    public CancellationToken Token => source.Token;

    /// <summary>What a shell expects of a process that a signal ended: 128 and the signal's number.</summary>
    public int ExitCode { get; private set; } = ExitCodes.Interrupted;

    /// <summary>While it is open, work ends by itself and saves what it has, however long that takes.</summary>
    /// <param name="what">What is done before the end.</param>
    public IDisposable Hold(string what = "what is done is saved first")
    {
        lock (gate) (held, first) = (held + 1, what);
        return new Held(this);
    }

    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in registrations) registration.Dispose();
        timer?.Dispose();
        source.Dispose();
    }

    private void Stop(PosixSignalContext signal, int code)
    {
        signal.Cancel = true;
        if (source.IsCancellationRequested) End();
        ExitCode = code;
        lock (gate)
        {
            since = DateTime.UtcNow;
            if (held > 0) error.WriteLine($"stopping; {first} (once more ends at once)");
            timer = new Timer(_ => EndWhereNothingIsSaved(), null, Look, Look);
        }
        source.Cancel();
    }

    private void EndWhereNothingIsSaved()
    {
        lock (gate)
        {
            // Once: the process takes a moment to end, longer than the timer.
            if (held > 0 || ended || DateTime.UtcNow - since < Grace) return;
            ended = true;
        }
        error.WriteLine("espalier: interrupted");
        End();
    }

    /// <summary>At once, but leaves nothing behind: no half-written files, and no hidden cursor, which a bar of progress hides.</summary>
    private void End()
    {
        if (!Console.IsOutputRedirected) Console.Out.Write("\e[?25h");
        AtomicFile.DeleteTemporaries();
        Environment.Exit(ExitCode);
    }

    private sealed class Held(Interrupt interrupt) : IDisposable
    {
        public void Dispose()
        {
            lock (interrupt.gate)
            {
                interrupt.held--;
                interrupt.since = DateTime.UtcNow;
            }
        }
    }
}
