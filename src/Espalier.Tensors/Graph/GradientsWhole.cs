namespace Espalier.Tensors;

/// <summary>
/// Tells, while it is open on this thread, of each parameter when a backward pass will add no more to its gradient:
/// <c>using (GradientsWhole.By(tell)) recording.Backward(loss);</c>. Where several passes add to one gradient, open it for the last.
/// </summary>
public static class GradientsWhole
{
    [ThreadStatic]
    private static Action<Tensor>? current;

    /// <param name="tell">Called on this thread between two ops; null for nobody.</param>
    public static Block By(Action<Tensor>? tell)
    {
        var block = new Block(current);
        current = tell;
        return block;
    }

    /// <summary>What is to be told after each op of a pass, first to last; null where nobody listens.</summary>
    /// <returns>Of each op, the parameters that no op before it reads.</returns>
    internal static (Action<Tensor> Tell, List<Tensor>?[] Last)? Of(IReadOnlyList<Op> ops)
    {
        if (current is not { } tell) return null;
        var last = new List<Tensor>?[ops.Count];
        HashSet<Tensor> seen = [];
        for (int i = 0; i < ops.Count; i++)
            foreach (Tensor input in ops[i].Inputs)
                if (input is { RequiresGrad: true, Producer: null } && seen.Add(input)) (last[i] ??= []).Add(input);
        return (tell, last);
    }

    /// <summary>Ends when it is disposed.</summary>
    public readonly struct Block : IDisposable
    {
        private readonly Action<Tensor>? outer;

        internal Block(Action<Tensor>? outer) => this.outer = outer;

        public void Dispose() => current = outer;
    }
}
