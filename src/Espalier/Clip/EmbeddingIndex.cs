using System.Globalization;
using System.Numerics.Tensors;
using System.Text;
using Espalier.Formats;
using Espalier.Imaging;

namespace Espalier.Clip;

/// <summary>A picture in an index.</summary>
/// <param name="Path">Relative to the folder.</param>
/// <param name="Length">Bytes of the file when it was looked at.</param>
/// <param name="Written">When it was written, in ticks of UTC.</param>
public sealed record IndexedImage(string Path, long Length, long Written);

/// <summary>A picture that a search found.</summary>
/// <param name="Score">The cosine between both.</param>
public sealed record SearchHit(string Path, float Score);

/// <summary>
/// The pictures of a folder as vectors of length 1, kept in one safetensors file, and the search among them. What has not
/// changed since is not encoded again.
/// </summary>
public sealed class EmbeddingIndex
{
    private const string Kind = "espalier-index", Version = "1";
    private const int MostImages = 1 << 24, BatchSize = 32;
    private const float SameModel = 0.999f;

    private readonly float[] vectors;
    private readonly float[] probe;

    /// <param name="images">What the vectors are of.</param>
    /// <param name="vectors">[images, width], each of length 1.</param>
    /// <param name="probe">[width]: what the model makes of a picture that everybody has.</param>
    internal EmbeddingIndex(IReadOnlyList<IndexedImage> images, float[] vectors, float[] probe) =>
        (Images, this.vectors, this.probe) = (images, vectors, probe);

    public IReadOnlyList<IndexedImage> Images { get; }

    /// <summary>Width of the vectors.</summary>
    public int Width => probe.Length;

    /// <summary>Looks at a folder's pictures, those of sub-folders too.</summary>
    /// <param name="known">An index of the same folder, of which is taken what still holds; null for none.</param>
    /// <param name="skip">Is told of pictures that cannot be read.</param>
    /// <param name="progress">Is told how many of how many new ones are done.</param>
    public static EmbeddingIndex Of(string folder, ClipModel model, EmbeddingIndex? known = null,
        Action<string, EspalierException>? skip = null, Action<int, int>? progress = null, CancellationToken cancel = default)
    {
        float[] probe = Probe(model);
        Dictionary<string, int> places = [];
        if (known is not null && known.IsOf(probe))
            for (int i = 0; i < known.Images.Count; i++) places[known.Images[i].Path] = i;
        var images = new List<IndexedImage>();
        var rows = new List<float[]?>();
        var missing = new List<int>();
        foreach (string path in Pictures(folder))
        {
            var file = new FileInfo(path);
            var image = new IndexedImage(System.IO.Path.GetRelativePath(folder, path), file.Length, file.LastWriteTimeUtc.Ticks);
            bool same = places.TryGetValue(image.Path, out int at) && known!.Images[at] == image;
            if (!same) missing.Add(images.Count);
            images.Add(image);
            rows.Add(same ? known!.vectors.AsSpan(at * known.Width, known.Width).ToArray() : null);
        }
        for (int start = 0; start < missing.Count; start += BatchSize)
        {
            cancel.ThrowIfCancellationRequested();
            progress?.Invoke(start, missing.Count);
            int[] batch = [.. missing.Skip(start).Take(BatchSize)];
            var read = new Image?[batch.Length];
            for (int i = 0; i < batch.Length; i++)
            {
                string path = System.IO.Path.Combine(folder, images[batch[i]].Path);
                try
                {
                    read[i] = ImageFile.Read(path);
                }
                catch (EspalierException e)
                {
                    if (skip is null) throw;
                    skip(path, e);
                }
            }
            float[][] features = model.EncodeImage([.. read.OfType<Image>()]);
            for (int i = 0, next = 0; i < batch.Length; i++)
                if (read[i] is not null) rows[batch[i]] = ClipModel.Normalised(features[next++]);
        }
        int[] there = [.. Enumerable.Range(0, rows.Count).Where(i => rows[i] is not null)];
        return new EmbeddingIndex([.. there.Select(i => images[i])], [.. there.SelectMany(i => rows[i]!)], probe);
    }

    /// <summary>Whether the vectors are of that model.</summary>
    public bool IsOf(ClipModel model) => IsOf(Probe(model));

    /// <summary>Reads an index.</summary>
    /// <exception cref="EspalierException">It is missing, damaged or something else.</exception>
    public static EmbeddingIndex Open(string path)
    {
        using SafetensorsReader file = SafetensorsReader.Open(path);
        if (file.Metadata.GetValueOrDefault(Kind) != Version) throw Damaged("is no index of pictures of this version");
        if (file.Entries.GetValueOrDefault("vectors")?.Shape is not [var count, var width] || width < 1 || count > MostImages
            || (long)count * width > Array.MaxLength
            || file.Entries.GetValueOrDefault("probe")?.Shape is not [var same] || same != width
            || file.Entries.GetValueOrDefault("files") is not { Type: ElementType.U8 })
        {
            throw Damaged("is a damaged index: it has no vectors and files");
        }
        string[] lines = Encoding.UTF8.GetString(file.ReadBytes("files")).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        if (lines.Length != count) throw Damaged($"is a damaged index: {count} vectors of {lines.Length} files");
        var (vectors, probe) = (new float[(long)count * width], new float[width]);
        file.ReadFloats("vectors", vectors);
        file.ReadFloats("probe", probe);
        if (!TensorPrimitives.IsFiniteAll<float>(vectors)) throw Damaged("is a damaged index: a vector is none");
        return new EmbeddingIndex([.. lines.Select(Image)], vectors, probe);

        IndexedImage Image(string line) => line.Split('\t') is [var length, var written, var name]
            && long.TryParse(length, CultureInfo.InvariantCulture, out long bytes)
            && long.TryParse(written, CultureInfo.InvariantCulture, out long ticks)
            ? new IndexedImage(name, bytes, ticks) : throw Damaged("is a damaged index: one of its files has no name");

        EspalierException Damaged(string what) => new($"{path}: {what}; delete it, and it is made again");
    }

    /// <summary>Writes the index; the file appears whole or not at all.</summary>
    /// <exception cref="EspalierException">It cannot be written.</exception>
    public void Save(string path)
    {
        byte[] files = Encoding.UTF8.GetBytes(string.Concat(Images.Select(i =>
            string.Create(CultureInfo.InvariantCulture, $"{i.Length}\t{i.Written}\t{i.Path}\n"))));
        Safetensors.Write(path,
        [
            SafetensorsEntry.FromFloats("vectors", [Images.Count, Width], vectors), SafetensorsEntry.FromFloats("probe", [Width],
                probe),
            SafetensorsEntry.FromBytes("files", files),
        ], new Dictionary<string, string> { [Kind] = Version });
    }

    /// <summary>The pictures that are nearest to a text or to another picture, the nearest first.</summary>
    /// <param name="query">[width], of any length.</param>
    public SearchHit[] Search(float[] query, int top)
    {
        if (query.Length != Width) throw new ArgumentException($"a query of {query.Length} numbers among vectors of {Width}");
        float[] q = ClipModel.Normalised(query);
        int parts = Math.Min(Environment.ProcessorCount, Images.Count / 1024 + 1);
        // The best of each part, the worst of them first; of equal ones the earlier is better.
        var best = new PriorityQueue<int, (float Score, int Minus)>[parts];
        Parallel.For(0, parts, part =>
        {
            int from = (int)((long)Images.Count * part / parts), end = (int)((long)Images.Count * (part + 1) / parts);
            best[part] = new PriorityQueue<int, (float, int)>();
            for (int i = from; i < end; i++)
            {
                var rank = (TensorPrimitives.Dot<float>(q, vectors.AsSpan(i * Width, Width)), -i);
                if (best[part].Count < top) best[part].Enqueue(i, rank);
                else if (best[part].TryPeek(out _, out var least) && rank.CompareTo(least) > 0) best[part].EnqueueDequeue(i, rank);
            }
        });
        return [.. best.SelectMany(p => p.UnorderedItems).OrderByDescending(x => x.Priority).Take(top)
            .Select(x => new SearchHit(Images[x.Element].Path, x.Priority.Score))];
    }

    private bool IsOf(float[] other) => other.Length == probe.Length && TensorPrimitives.Dot<float>(probe, other) >= SameModel;

    /// <summary>Of a picture of colours that run: two models see it in two ways.</summary>
    private static float[] Probe(ClipModel model)
    {
        const int Side = 64;
        var pixels = new byte[Side * Side * 3];
        for (int i = 0; i < pixels.Length; i++) pixels[i] = (byte)(i % 3 * 80 + i / 3 % Side * 2 + i / 3 / Side * (i % 3));
        return ClipModel.Normalised(model.EncodeImage(new Image(Side, Side, 3, pixels))[0]);
    }

    private static IEnumerable<string> Pictures(string folder)
    {
        if (!Directory.Exists(folder)) throw new EspalierException($"{folder}: no such folder");
        // Names with these cannot be told apart in the file.
        return Data.ClassFolder.Pictures(folder, new Data.SkippedFiles()).Where(p => !p.Contains('\n') && !p.Contains('\t'));
    }
}
