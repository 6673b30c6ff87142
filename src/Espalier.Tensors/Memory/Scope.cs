namespace Espalier.Tensors;

/// <summary>
/// Owns the tensors made on this thread while it is open and disposes them together: <c>using var scope = new Scope();</c>
/// around a training step frees the whole step. Scopes nest; <see cref="Tensor.Keep"/> moves a tensor out to the next one.
/// </summary>
public sealed class Scope : IDisposable
{
    [ThreadStatic]
    private static Scope? current;

    private readonly Scope? outer;
    private readonly List<Tensor> tensors = [];
    private bool open = true;

    public Scope()
    {
        outer = current;
        current = this;
    }

    internal static Scope? Current => current;

    internal Scope? Outer => outer;

    internal void Add(Tensor tensor) => tensors.Add(tensor);

    public void Dispose()
    {
        if (!open) return;
        if (current != this) throw new InvalidOperationException("scopes end in the order opposite to their beginning");
        open = false;
        current = outer;
        foreach (Tensor tensor in tensors) if (tensor.Owner == this) tensor.Dispose();
        tensors.Clear();
    }
}
