namespace Espalier.Tensors.Threading;

/// <summary>
/// Lets work on this thread stop between two ops while it is open: <c>using (Interruption.By(cancel)) ...</c>. A pass of a large
/// network takes minutes, and whoever asks it to stop should not wait for its end. What the pass had changed up to then stays
/// changed, so that only those should open one who can take it back.
/// </summary>
public static class Interruption
{
    [ThreadStatic]
    private static CancellationToken current;

    /// <summary>Ops of this thread throw an <see cref="OperationCanceledException"/> once <paramref name="cancel"/> is set.</summary>
    public static Block By(CancellationToken cancel)
    {
        var block = new Block(current);
        current = cancel;
        return block;
    }

    internal static void Check() => current.ThrowIfCancellationRequested();

    /// <summary>Ends when it is disposed.</summary>
    public readonly struct Block : IDisposable
    {
        private readonly CancellationToken outer;

        internal Block(CancellationToken outer) => this.outer = outer;

        public void Dispose() => current = outer;
    }
}
