using System.Runtime.InteropServices;

namespace Espalier.Cli;

/// <summary>
/// Turns the first SIGINT (Ctrl-C), SIGTERM or SIGHUP (a terminal that is gone) into a cancellation, so that work can be saved; the second ends the process.
/// </summary>
internal sealed class Interrupt : IDisposable
{
    private readonly CancellationTokenSource source = new();
    private readonly PosixSignalRegistration[] registrations;

    public Interrupt() => registrations =
    [
        PosixSignalRegistration.Create(PosixSignal.SIGINT, signal => Stop(signal, 130)),
        PosixSignalRegistration.Create(PosixSignal.SIGTERM, signal => Stop(signal, 143)),
        PosixSignalRegistration.Create(PosixSignal.SIGHUP, signal => Stop(signal, 129)),
    ];

    public CancellationToken Token => source.Token;

    /// <summary>What a shell expects of a process that a signal ended: 128 and the signal's number.</summary>
    public int ExitCode { get; private set; } = ExitCodes.Interrupted;

    public void Dispose()
    {
        foreach (PosixSignalRegistration registration in registrations) registration.Dispose();
        source.Dispose();
    }

    private void Stop(PosixSignalContext signal, int code)
    {
        if (source.IsCancellationRequested) return;
        signal.Cancel = true;
        ExitCode = code;
        source.Cancel();
    }
}
