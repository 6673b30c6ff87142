using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>
/// While it is open, modules of this thread may take only so many values together: a file's few bytes must not claim all memory.
/// </summary>
internal sealed class SizeLimit : IDisposable
{
    [ThreadStatic]
    private static SizeLimit? current;

    private readonly SizeLimit? outer;
    private readonly string message;
    private long left;

    /// <param name="message">Of the exception where it is not enough.</param>
    public SizeLimit(long values, string message)
    {
        (left, this.message, outer) = (values, message, current);
        current = this;
    }

    /// <summary>Counts a tensor that is about to be made.</summary>
    /// <exception cref="EspalierException">It would be too many.</exception>
    public static void Take(Shape shape)
    {
        if (current is not null && (current.left -= shape.Length) < 0) throw new EspalierException(current.message);
    }

    public void Dispose() => current = outer;
}
