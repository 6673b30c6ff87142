namespace Espalier.Tensors;

/// <summary>
/// Numbered generators of one seed, for ops that draw at random on each call: call number i always draws the same, whatever
/// else was drawn before, and a checkpoint needs to keep the seed and <see cref="Calls"/> only.
/// </summary>
public sealed class RandomStream(ulong seed)
{
    public ulong Seed { get; private set; } = seed;

    /// <summary>How many calls have been numbered so far; set it to resume.</summary>
    public ulong Calls { get; set; }

    /// <summary>Begins again with another seed.</summary>
    public void Restart(ulong seed) => (Seed, Calls) = (seed, 0);

    /// <summary>The number of the next call.</summary>
    public ulong Next() => Calls++;
}
