using System.Text;
using Espalier.Formats;

namespace Espalier.Evaluation;

/// <summary>Which class was taken for which, image by image.</summary>
/// <param name="classes">Of the model.</param>
public sealed class ClassCounts(int classes)
{
    private const int Ranks = 5;

    private readonly long[,] taken = new long[classes, classes];
    private long images, inTop;

    /// <summary>Share of the images whose class is among the five most probable ones.</summary>
    public double TopFive => images == 0 ? 0 : (double)inTop / images;

    public void Add(ImageResult image)
    {
        images++;
        if ((uint)image.Label >= (uint)classes) return;
        taken[image.Label, image.Prediction]++;
        float own = image.Logits[image.Label];
        // What is no number is in no one's top five, whatever else there is.
        if (float.IsNaN(own)) return;
        int before = 0;
        // As argmax does, the first of equal ones counts as the more probable.
        for (int c = 0; c < image.Logits.Length && before < Ranks; c++)
            if (float.IsNaN(image.Logits[c]) || image.Logits[c] > own || (image.Logits[c] == own && c < image.Label)) before++;
        if (before < Ranks) inTop++;
    }

    /// <summary>Images of a class, and those of them that were taken for another.</summary>
    public long Of(int label, int prediction) => taken[label, prediction];

    public long Images(int label) => Enumerable.Range(0, classes).Sum(p => taken[label, p]);

    /// <summary>The share of a class's images that were recognised; null where there are none.</summary>
    public double? Accuracy(int label) => Images(label) is > 0 and var n ? (double)taken[label, label] / n : null;

    /// <summary>What a class was most often taken for, besides itself; null where never for another.</summary>
    public int? MostlyTakenFor(int label)
    {
        int most = -1;
        for (int p = 0; p < classes; p++)
            if (p != label && taken[label, p] > (most < 0 ? 0 : taken[label, most])) most = p;
        return most < 0 ? null : most;
    }

    /// <summary>Writes the matrix as comma-separated values: a row a class, a column a prediction, with names on both sides.</summary>
    /// <exception cref="EspalierException">The file cannot be written.</exception>
    public void WriteCsv(string path, IReadOnlyList<string> names) => AtomicFile.Write(path, stream =>
    {
        using var text = new StreamWriter(stream, new UTF8Encoding(false), leaveOpen: true) { NewLine = "\n" };
        text.WriteLine(string.Join(',', names.Prepend("class").Select(Quoted)));
        for (int label = 0; label < classes; label++)
            text.WriteLine(Quoted(names[label]) + "," + string.Join(',', Enumerable.Range(0, classes).Select(p => taken[label, p])));
    });

    private static string Quoted(string name) => name.AsSpan().ContainsAny(',', '"', '\n')
        ? $"\"{name.Replace("\"", "\"\"", StringComparison.Ordinal)}\"" : name;
}
