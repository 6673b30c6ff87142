using Espalier.Tensors;

namespace Espalier.Optim;

/// <summary>
/// Changes parameters by their gradients. A parameter without a gradient is skipped, and its state, made at its first update,
/// stays as it is. A step allocates nothing once every trained parameter has been updated once.
/// </summary>
public abstract class Optimizer : IDisposable
{
    private readonly string[] slots;
    private readonly List<Entry> entries = [];

    /// <param name="weightDecay">For groups that set none of their own.</param>
    /// <param name="slots">Names of the tensors kept for each parameter, such as "momentum".</param>
    protected Optimizer(IReadOnlyList<ParameterGroup> groups, float weightDecay, params string[] slots)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(weightDecay);
        (Groups, WeightDecay, this.slots) = (groups, weightDecay, slots);
        var names = new HashSet<string>();
        foreach (ParameterGroup group in groups)
        {
            foreach (var (name, value) in group.Parameters)
            {
                if (!names.Add(name)) throw new ArgumentException($"parameter '{name}' is in the groups twice", nameof(groups));
                entries.Add(new Entry(name, value, group));
            }
        }
    }

    public IReadOnlyList<ParameterGroup> Groups { get; }

    public float WeightDecay { get; }

    /// <summary>Of the last step, before the groups' scales; 0 before the first.</summary>
    public float LearningRate { get; private set; }

    /// <summary>Names of the tensors kept for each parameter.</summary>
    public IReadOnlyList<string> Slots => slots;

    /// <summary>All parameters of all groups, in order.</summary>
    public IEnumerable<(string Name, Tensor Value)> Parameters => entries.Select(e => (e.Name, e.Value));

    /// <summary>Updates every parameter that has a gradient.</summary>
    /// <param name="lr">Learning rate of this step, before the groups' scales.</param>
    public void Step(float lr)
    {
        LearningRate = lr;
        foreach (Entry entry in entries)
        {
            if (entry.Value.Grad is not { } gradient) continue;
            Tensor[] state = entry.State ??= NewState(entry.Value);
            if (state.Length > 0 && state[0].Shape != entry.Value.Shape)
                throw new InvalidOperationException($"'{entry.Name}' was pruned to {entry.Value.Shape} without its optimiser state");
            entry.Updates++;
            ParameterGroup group = entry.Group;
            Update(entry.Value, gradient, state, entry.Updates, lr * group.LearningRateScale, group.WeightDecay ?? WeightDecay);
        }
    }

    /// <summary>
    /// What the optimiser keeps between steps, under "slot/parameter", without parameters that were never updated. For
    /// checkpoints, and for methods that reset or cut the state together with the weights.
    /// </summary>
    public IEnumerable<(string Name, Tensor Value)> State() =>
        entries.SelectMany(entry => (entry.State ?? []).Select((tensor, slot) => ($"{slots[slot]}/{entry.Name}", tensor)));

    /// <summary>Updates that each parameter has had, in the order of <see cref="Parameters"/>.</summary>
    public long[] Updates() => [.. entries.Select(e => e.Updates)];

    /// <summary>
    /// Sets the state to one that <see cref="State"/> and <see cref="Updates"/> gave. <paramref name="fill"/> gets each name and
    /// the tensor to fill; it is not called for parameters that were never updated.
    /// </summary>
    public void Load(ReadOnlySpan<long> updates, Action<string, Tensor> fill)
    {
        if (updates.Length != entries.Count)
            throw new ArgumentException($"{updates.Length} counters for {entries.Count} parameters", nameof(updates));
        for (int i = 0; i < entries.Count; i++)
        {
            Entry entry = entries[i];
            entry.Updates = updates[i];
            if (updates[i] == 0)
            {
                Free(entry);
                continue;
            }
            entry.State ??= NewState(entry.Value);
            for (int s = 0; s < slots.Length; s++) fill($"{slots[s]}/{entry.Name}", entry.State[s]);
        }
    }

    /// <summary>
    /// Replaces every tensor that is kept for a parameter, such as its momentum, where the parameter itself was replaced by a
    /// smaller one. Does nothing for a parameter that it does not know or has never updated.
    /// </summary>
    /// <param name="replace">Makes the new tensor, unscoped and of the parameter's new shape, from the old one.</param>
    internal void ReplaceState(Tensor parameter, Func<Tensor, Tensor> replace)
    {
        foreach (Entry entry in entries)
        {
            for (int i = 0; entry.Value == parameter && i < (entry.State?.Length ?? 0); i++)
            {
                Tensor old = entry.State![i];
                entry.State[i] = replace(old);
                old.Dispose();
            }
        }
    }

    /// <summary>
    /// Treats some elements of a parameter as if they had never been updated: what is kept for them is zero again, or, where it
    /// follows the weights, what they are now. The count of the parameter's updates goes on. Does nothing for a parameter that it
    /// does not know or has never updated.
    /// </summary>
    internal void Renew(Tensor parameter, IReadOnlyList<Range> elements)
    {
        foreach (Entry entry in entries)
        {
            for (int slot = 0; entry.Value == parameter && slot < (entry.State?.Length ?? 0); slot++)
            {
                foreach (Range range in elements)
                {
                    Span<float> kept = entry.State![slot].Span[range];
                    if (FollowsWeights(slot)) parameter.Span[range].CopyTo(kept);
                    else kept.Clear();
                }
            }
        }
    }

    public void Dispose()
    {
        foreach (Entry entry in entries) Free(entry);
        GC.SuppressFinalize(this);
    }

    /// <summary>One pass over one parameter.</summary>
    /// <param name="state">One tensor a slot, of the parameter's shape, zero before the first update.</param>
    /// <param name="updates">Updates of this parameter, this one included.</param>
    protected internal abstract void Update(Tensor parameter, Tensor gradient, Tensor[] state, long updates, float lr, float weightDecay);

    /// <summary>Whether a slot begins as a copy of the weights, not at zero.</summary>
    private protected virtual bool FollowsWeights(int slot) => false;

    private static void Free(Entry entry)
    {
        foreach (Tensor t in entry.State ?? []) t.Dispose();
        entry.State = null;
    }

    private Tensor[] NewState(Tensor parameter)
    {
        var state = new Tensor[slots.Length];
        for (int i = 0; i < state.Length; i++)
        {
            state[i] = Tensor.Unscoped(parameter.Shape);
            state[i].Fill(0);
        }
        return state;
    }

    private sealed class Entry(string name, Tensor value, ParameterGroup group)
    {
        public string Name { get; } = name;

        public Tensor Value { get; } = value;

        public ParameterGroup Group { get; } = group;

        public Tensor[]? State { get; set; }

        public long Updates { get; set; }
    }
}
