namespace Espalier.Cli;

internal static class ExitCodes
{
    public const int Done = 0;

    /// <summary>The work failed: the disk is full, memory ran out, a fault in the program.</summary>
    public const int Failed = 1;

    /// <summary>The arguments or an input file are wrong.</summary>
    public const int WrongInput = 2;

    /// <summary>Ctrl-C.</summary>
    public const int Interrupted = 130;
}
