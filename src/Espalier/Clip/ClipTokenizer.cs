using System.IO.Compression;
using System.Text;
using Espalier.Formats;

namespace Espalier.Clip;

/// <summary>
/// CLIP's tokenizer: byte-level byte-pair encoding of cleaned, lower-cased text (Radford et al., arXiv 2103.00020, section 2.4;
/// Sennrich et al., arXiv 1508.07909). Merging works on ids, so that a symbol's text is looked at only while the vocabulary is
/// read.
/// </summary>
public sealed class ClipTokenizer
{
    /// <summary>Ids of the published vocabulary.</summary>
    public const int PublishedSize = 49408;

    private const int Bytes = 256, Specials = 2, LongestText = 1 << 17;
    private const long LargestFile = 32 << 20;
    private const string Start = "<|startoftext|>", End = "<|endoftext|>";

    private readonly int[] ofByte = new int[Bytes];
    private readonly Dictionary<(int Left, int Right), (int Rank, int Id)> merges = [];

    /// <param name="lines">The merges, the first one first: two symbols with a space between them.</param>
    /// <param name="source">The file, for messages.</param>
    /// <exception cref="EspalierException">A line is none.</exception>
    internal ClipTokenizer(IReadOnlyList<string> lines, string source)
    {
        var ids = new Dictionary<string, int>(StringComparer.Ordinal);
        string[] symbols = ByteSymbols(ofByte);
        foreach (string symbol in symbols) ids.Add(symbol, ids.Count);
        foreach (string symbol in symbols) ids.Add(symbol + "</w>", ids.Count);
        string[][] pairs = [.. lines.Select(line => line.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))];
        for (int rank = 0; rank < pairs.Length; rank++)
        {
            if (pairs[rank] is not [var left, var right] || !ids.ContainsKey(left) || !ids.ContainsKey(right))
                throw new EspalierException($"{source}: line {rank + 2} is no merge of two symbols before it: "
                    + $"{ReadGuard.Quote(lines[rank])}; it is no vocabulary of CLIP's, or damaged");
            // Where two merges make the same symbol the later id is its own, as in the published code.
            ids[left + right] = 2 * Bytes + rank;
        }
        for (int rank = 0; rank < pairs.Length; rank++)
            merges[(ids[pairs[rank][0]], ids[pairs[rank][1]])] = (rank, ids[pairs[rank][0] + pairs[rank][1]]);
        Size = 2 * Bytes + lines.Count + Specials;
    }

    /// <summary>Number of ids.</summary>
    public int Size { get; }

    /// <summary>In front of every text.</summary>
    public int StartId => Size - 2;

    /// <summary>Behind every text; the largest id.</summary>
    public int EndId => Size - 1;

    /// <summary>Reads <c>bpe_simple_vocab_16e6.txt.gz</c>, or the same unpacked.</summary>
    /// <param name="size">Ids that the model knows: the file has more merges than are used.</param>
    /// <exception cref="EspalierException">The file is missing, damaged, or has too few merges.</exception>
    public static ClipTokenizer Open(string path, int size = PublishedSize)
    {
        int wanted = size - 2 * Bytes - Specials;
        if (wanted < 0) throw new EspalierException($"{path}: a vocabulary of {size} ids has no room for all bytes");
        string[] lines = ReadGuard.Open(path, stream => Lines(stream, wanted + 1));
        if (lines.Length <= wanted)
            throw new EspalierException($"{path}: has {Math.Max(0, lines.Length - 1)} merges, and {wanted} are needed; "
                + "it is cut short, or the vocabulary of another model");
        return new ClipTokenizer(lines[1..], path);
    }

    /// <summary>The ids of a text, without start, end and padding.</summary>
    /// <exception cref="EspalierException">It is far too long for any model.</exception>
    public int[] Encode(string text)
    {
        if (text.Length > LongestText)
            throw new EspalierException($"a text of {text.Length} characters is too long; at most {LongestText} are read");
        var all = new List<int>();
        foreach (string word in WordSplitter.Split(TextCleaning.Clean(text), [Start, End]))
        {
            if (word == Start) all.Add(StartId);
            else if (word == End) all.Add(EndId);
            else Merge(word, all);
        }
        return [.. all];
    }

    /// <summary>The ids of texts as a model reads them: start, text, end, and zeros up to the model's length.</summary>
    /// <param name="context">Ids a text.</param>
    /// <param name="truncate">Cuts a longer text, whose last id then is the end; else it is an error.</param>
    /// <returns>[texts, context].</returns>
    /// <exception cref="EspalierException">A text is too long.</exception>
    public int[] Encode(IReadOnlyList<string> texts, int context, bool truncate = false)
    {
        var ids = new int[checked(texts.Count * context)];
        for (int i = 0; i < texts.Count; i++)
        {
            int[] text = [StartId, .. Encode(texts[i]), EndId];
            if (text.Length > context && !truncate)
                throw new EspalierException($"{ReadGuard.Quote(texts[i])} is too long: {text.Length} tokens with its start and "
                    + $"end, and the model reads {context}; shorten it, or let it be truncated");
            text.AsSpan(0, Math.Min(context, text.Length)).CopyTo(ids.AsSpan(i * context));
            if (text.Length > context) ids[(i + 1) * context - 1] = EndId;
        }
        return ids;
    }

    /// <summary>The neighbours that were merged earliest in training are merged first, from the left, until no pair is known. A
    /// heap of the pairs keeps a word of any length from taking the square of its time.</summary>
    private void Merge(string word, List<int> all)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(word);
        var ids = new int[bytes.Length];
        for (int i = 0; i < ids.Length; i++) ids[i] = ofByte[bytes[i]];
        ids[^1] += Bytes;
        int[] next = [.. Enumerable.Range(1, ids.Length)], before = [.. Enumerable.Range(-1, ids.Length)];
        var pairs = new PriorityQueue<(int Left, int Right, int At), (int Rank, int At)>();
        for (int i = 0; i < ids.Length; i++) Note(i);
        while (pairs.TryDequeue(out var pair, out _))
        {
            // A pair of which one side was merged with another meanwhile is none any more.
            int at = pair.At, right = next[at];
            if (ids[at] != pair.Left || right >= ids.Length || ids[right] != pair.Right) continue;
            ids[at] = merges[(pair.Left, pair.Right)].Id;
            ids[right] = -1;
            next[at] = next[right];
            if (next[at] < ids.Length) before[next[at]] = at;
            Note(at);
            if (before[at] >= 0) Note(before[at]);
        }
        for (int i = 0; i < ids.Length; i = next[i]) all.Add(ids[i]);

        void Note(int at)
        {
            int right = next[at];
            if (right < ids.Length && merges.TryGetValue((ids[at], ids[right]), out var known))
                pairs.Enqueue((ids[at], ids[right], at), (known.Rank, at));
        }
    }

    /// <summary>The 256 symbols in the order of their ids: printable bytes stand for themselves, the others for characters from
    /// 256 on.</summary>
    private static string[] ByteSymbols(int[] ofByte)
    {
        int[] printable = [.. Enumerable.Range(33, 94), .. Enumerable.Range(161, 12), .. Enumerable.Range(174, 82)];
        int[] all = [.. printable, .. Enumerable.Range(0, Bytes).Except(printable)];
        for (int id = 0; id < Bytes; id++) ofByte[all[id]] = id;
        return [.. all.Select((b, id) => ((char)(id < printable.Length ? b : Bytes + id - printable.Length)).ToString())];
    }

    /// <summary>At most so many lines, without reading what is behind them.</summary>
    private static string[] Lines(Stream stream, int most)
    {
        Span<byte> magic = stackalloc byte[2];
        int start = stream.ReadAtLeast(magic, 2, throwOnEndOfStream: false);
        stream.Position = 0;
        bool packed = start == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
        using Stream plain = packed ? new GZipStream(stream, CompressionMode.Decompress) : stream;
        using var reader = new StreamReader(new Bounded(plain, LargestFile), new UTF8Encoding(false, throwOnInvalidBytes: true));
        var lines = new List<string>();
        try
        {
            while (lines.Count < most && reader.ReadLine() is { } line) lines.Add(line);
        }
        catch (DecoderFallbackException e)
        {
            throw new InvalidDataException("is no text in UTF-8, and no vocabulary", e);
        }
        return [.. lines];
    }

    /// <summary>Ends a stream that unpacks to more than any vocabulary has.</summary>
    private sealed class Bounded(Stream stream, long most) : ReadOnlyStream
    {
        private long left = most;

        public override int Read(Span<byte> buffer)
        {
            int count = stream.Read(buffer);
            return (left -= count) >= 0 ? count
                : throw new InvalidDataException("unpacks to more than any vocabulary has; refused");
        }
    }
}
