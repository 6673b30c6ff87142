namespace Espalier;

/// <summary>What became of each tensor when a file was read into a network.</summary>
/// <param name="Matched">Taken as they are.</param>
/// <param name="Resized">Position embeddings that were interpolated to the model's grid, with both shapes.</param>
/// <param name="Missing">In the model but not in the file: they keep their initial values.</param>
/// <param name="Unexpected">In the file but not in the model, and passed over: counters, an optimiser's state.</param>
/// <param name="Replaced">In both, but for another number of classes: the model's fresh head is kept.</param>
public sealed record LoadReport(IReadOnlyList<string> Matched, IReadOnlyList<string> Resized, IReadOnlyList<string> Missing,
    IReadOnlyList<string> Unexpected, IReadOnlyList<string> Replaced)
{
    /// <summary>Which weights these are, where the file has several: a training script's or their averages.</summary>
    public string? Note { get; init; }

    internal static LoadReport Empty { get; } = new([], [], [], [], []);

    public override string ToString()
    {
        var lines = new List<string> { $"{Matched.Count} tensors matched" };
        if (Note is not null) lines.Add(Note);
        Add("resized", Resized);
        Add("missing", Missing);
        Add("unexpected", Unexpected);
        Add("replaced", Replaced);
        return string.Join("; ", lines);

        void Add(string what, IReadOnlyList<string> names)
        {
            if (names.Count > 0) lines.Add($"{names.Count} {what}: {Shortened(names)}");
        }
    }

    internal static string Shortened(IReadOnlyList<string> names) =>
        names.Count <= 4 ? string.Join(", ", names) : string.Join(", ", names.Take(3)) + $" and {names.Count - 3} more";
}
