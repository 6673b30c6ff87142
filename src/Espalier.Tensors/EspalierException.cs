namespace Espalier;

/// <summary>
/// Something outside the program is wrong: a file, an option, a shape in a checkpoint. The message is one line that says
/// what is wrong, where, and what to do; the command line prints it and exits with 2.
/// </summary>
public class EspalierException : Exception
{
    public EspalierException(string message) : base(Line(message)) { }

    public EspalierException(string message, Exception inner) : base(Line(message), inner) { }

    /// <summary>Names in a message come from files, and may hold anything: ends of lines become blanks, and what could steer a terminal
    /// question marks.</summary>
    private static string Line(string message) => !message.Any(char.IsControl) ? message
        : string.Concat(message.ReplaceLineEndings(" ").Select(c => c == '\t' ? ' ' : char.IsControl(c) ? '?' : c));
}
