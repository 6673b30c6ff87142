namespace Espalier.Cli;

/// <summary>What a verb needs of the world around it.</summary>
/// <param name="Cancel">Set by the first Ctrl-C.</param>
internal sealed record Session(Terminal Terminal, CancellationToken Cancel, Interrupt? Interrupt = null)
{
    /// <summary>What the process ends with after an interruption.</summary>
    public int ExitCode => Interrupt?.ExitCode ?? ExitCodes.Interrupted;

    /// <summary>The arguments as they were given, for messages that repeat them.</summary>
    public IReadOnlyList<string> Arguments { get; set; } = [];
}
