namespace Espalier.Compression;

/// <summary>
/// When filters go and come back, in steps that have been done by then: a drop after S1 + k (S1 + S2) steps, its restore S2 steps
/// later, as long as the training has steps left.
/// </summary>
internal sealed class ReprSchedule
{
    /// <param name="steps">Of the whole training.</param>
    /// <param name="first">S1, steps at full size before a drop.</param>
    /// <param name="thin">S2, steps without the dropped filters.</param>
    /// <param name="cycles">Drops at most; 0 for as many as fit.</param>
    /// <param name="endThin">
    /// Whether what the last drop took stays away to the end. Else a drop that would not be restored in time is left out, so that
    /// the network ends whole.
    /// </param>
    public ReprSchedule(long steps, long first, long thin, int cycles, bool endThin)
    {
        var (drops, restores) = (new List<long>(), new List<long>());
        for (long drop = first; drop < steps && (cycles == 0 || drops.Count < cycles); drop += first + thin)
        {
            if (!endThin && drop + thin >= steps) break;
            drops.Add(drop);
            if (drop + thin < steps) restores.Add(drop + thin);
        }
        if (endThin && restores.Count == drops.Count && restores.Count > 0) restores.RemoveAt(restores.Count - 1);
        (Drops, Restores) = (drops, restores);
    }

    public IReadOnlyList<long> Drops { get; }

    public IReadOnlyList<long> Restores { get; }
}
