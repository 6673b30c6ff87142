namespace Espalier;

/// <summary>
/// Something outside the program is wrong: a file, an option, a shape in a checkpoint. The message is one line that says
/// what is wrong, where, and what to do; the command line prints it and exits with 2.
/// </summary>
public class EspalierException : Exception
{
    public EspalierException(string message) : base(message) { }

    public EspalierException(string message, Exception inner) : base(message, inner) { }
}
