namespace Espalier.Models;

/// <summary>What became of each tensor when a checkpoint was read into a model.</summary>
/// <param name="Matched">Taken as they are.</param>
/// <param name="Resized">Position embeddings that were interpolated to the model's grid, with both shapes.</param>
/// <param name="Missing">In the model but not in the file: they keep their initial values.</param>
/// <param name="Unexpected">In the file but not in the model: ignored.</param>
/// <param name="Replaced">In both, but for another number of classes: the model's fresh head is kept.</param>
public sealed record LoadReport(IReadOnlyList<string> Matched, IReadOnlyList<string> Resized, IReadOnlyList<string> Missing,
    IReadOnlyList<string> Unexpected, IReadOnlyList<string> Replaced)
{
    internal static LoadReport Empty { get; } = new([], [], [], [], []);

    public override string ToString()
    {
        var lines = new List<string> { $"{Matched.Count} tensors matched" };
        foreach (var (what, names) in new[] { ("resized", Resized), ("missing", Missing), ("unexpected", Unexpected), ("replaced", Replaced) })
            if (names.Count > 0) lines.Add($"{names.Count} {what}: {Shortened(names)}");
        return string.Join("; ", lines);
    }

    internal static string Shortened(IReadOnlyList<string> names) =>
        names.Count <= 4 ? string.Join(", ", names) : string.Join(", ", names.Take(3)) + $" and {names.Count - 3} more";
}
