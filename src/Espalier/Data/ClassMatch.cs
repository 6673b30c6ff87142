using Espalier.Imaging;

namespace Espalier.Data;

/// <summary>
/// A data set's pictures with the labels of a model that knows classes by name: a folder numbers its classes in the order of
/// their names, so that one class more or less would move all labels behind it.
/// </summary>
/// <param name="Data">With the model's classes, in the model's order.</param>
/// <param name="Missing">Classes of the model that the data does not have.</param>
/// <param name="InOrder">No name of the data is one of the model's, so classes are taken by their numbers.</param>
public sealed record ClassMatch(IImageDataset Data, IReadOnlyList<string> Missing, bool InOrder)
{
    /// <summary>Names are the same where only case, spaces, dashes, underscores and other signs differ.</summary>
    /// <param name="classes">The model's names; null or empty where it knows none.</param>
    /// <param name="model">For errors.</param>
    /// <exception cref="EspalierException">Some classes of the data are the model's and some are not.</exception>
    public static ClassMatch Of(IImageDataset data, IReadOnlyList<string>? classes, string model)
    {
        if (classes is not { Count: > 0 } || data.ClassNames.SequenceEqual(classes)) return new ClassMatch(data, [], false);
        int[] labels = [.. data.ClassNames.Select(name => Find(name, classes))];
        string[] unknown = [.. data.ClassNames.Where((_, c) => labels[c] < 0)];
        if (unknown.Length == labels.Length && unknown.Length <= classes.Count) return new ClassMatch(data, [], true);
        if (unknown.Length > 0)
            throw new EspalierException($"{data.Name}: {Some(unknown)} {(unknown.Length == 1 ? "is no class" : "are no classes")} "
                + $"of {model}, which knows {Some(classes)}; rename or remove what does not belong there.");
        if (labels.Distinct().Count() < labels.Length)
            throw new EspalierException($"{data.Name}: two classes of {Some(data.ClassNames)} are one of {model}; rename one.");
        return new ClassMatch(new Relabelled(data, classes, labels), [.. classes.Where((_, c) => !labels.Contains(c))], false);
    }

    /// <summary>Some names of a list, for messages.</summary>
    public static string Some(IReadOnlyList<string> names) =>
        string.Join(", ", names.Take(5)) + (names.Count > 5 ? $" and {names.Count - 5} more" : "");

    private static int Find(string name, IReadOnlyList<string> classes)
    {
        int exact = classes.ToList().IndexOf(name);
        if (exact >= 0) return exact;
        int[] alike = [.. Enumerable.Range(0, classes.Count).Where(c => Plain(classes[c]) == Plain(name))];
        return alike.Length == 1 ? alike[0] : -1;
    }

    private static string Plain(string name) => new([.. name.Where(char.IsLetterOrDigit).Select(char.ToLowerInvariant)]);

    private sealed class Relabelled(IImageDataset source, IReadOnlyList<string> names, int[] labels) : IImageDataset
    {
        public string Name => source.Name;

        public int Count => source.Count;

        public int Classes => names.Count;

        public IReadOnlyList<string> ClassNames => names;

        public Image ReadImage(int index) => source.ReadImage(index);

        public int Label(int index) => labels[source.Label(index)];

        public string? FileOf(int index) => source.FileOf(index);

        public bool Skip(int index, EspalierException why) => source.Skip(index, why);
    }
}
