using System.IO.Compression;
using System.Text.Json;
using Espalier.Clip;
using Espalier.Tests.Imaging;

namespace Espalier.Tests.Clip;

/// <summary>With the published vocabulary where <c>ESPALIER_CLIP_VOCABULARY</c> names it (and <c>ESPALIER_CLIP_TOKENS</c> a
/// list of texts with their ids), else with a small one.</summary>
public sealed class ClipTokenizerTests : IDisposable
{
    private static readonly string? Published = Environment.GetEnvironmentVariable("ESPALIER_CLIP_VOCABULARY");

    private readonly TempFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>By bpe_simple_vocab_16e6.txt.gz, the published vocabulary.</summary>
    [Theory]
    [InlineData("a diagram", 320, 22697)]
    [InlineData("a photo of a dog", 320, 1125, 539, 320, 1929)]
    [InlineData("hello world!", 3306, 1002, 256)]
    [InlineData("It's 2023, isn't it?", 585, 568, 273, 271, 273, 274, 267, 2923, 713, 585, 286)]
    [InlineData("don't", 847, 713)]
    [InlineData("don\u2019t", 847, 713)]
    [InlineData("a photo of a sweet_pepper", 320, 1125, 539, 320, 2418, 318, 8253)]
    [InlineData("  Two   people\tare quarrelling ", 1237, 1047, 631, 3856, 1825, 1358)]
    [InlineData("&lt;b&gt; 50%", 283, 321, 285, 276, 271, 260)]
    [InlineData("caf\u00e9 \u4f60\u597d", 15304, 47466, 254, 29290, 377)]
    [InlineData("cafe\u0301 \u4f60\u597d", 15304, 47466, 254, 29290, 377)]
    [InlineData("A teacher is discussing academic issues with his student", 320, 4008, 533, 5900, 7935, 4082, 593, 787, 2556)]
    [InlineData("<|startoftext|>a", 49406, 320)]
    public void IdsAreThePublishedOnes(string text, params int[] ids)
    {
        if (Published is null) return;
        ClipTokenizer tokenizer = ClipTokenizer.Open(Published);
        Assert.Equal((49408, 49406, 49407), (tokenizer.Size, tokenizer.StartId, tokenizer.EndId));
        Assert.Equal(ids, tokenizer.Encode(text));
    }

    [Fact]
    public void AListOfTextsHasItsIds()
    {
        if (Published is null || Environment.GetEnvironmentVariable("ESPALIER_CLIP_TOKENS") is not { } file) return;
        ClipTokenizer tokenizer = ClipTokenizer.Open(Published);
        using JsonDocument list = JsonDocument.Parse(File.ReadAllText(file));
        foreach (JsonElement entry in list.RootElement.EnumerateArray())
        {
            string text = entry.GetProperty("text").GetString()!;
            Assert.Equal((text, string.Join(' ', entry.GetProperty("ids").EnumerateArray())),
                (text, string.Join(' ', tokenizer.Encode(text))));
        }
    }

    [Fact]
    public void BytesAndMergesAreNumbered()
    {
        ClipTokenizer tokenizer = Small("i n", "t h", "th e</w>", "h e</w>", "t he</w>");
        Assert.Equal(517, tokenizer.StartId);
        Assert.Equal([320], tokenizer.Encode("a"));              // the byte's symbol at the end of a word
        Assert.Equal([0, 256], tokenizer.Encode("!!"));
        Assert.Equal([512, 64, 334], tokenizer.Encode("inao"));
        Assert.Equal([516], tokenizer.Encode("The"));        // t h first, then th e</w>, the later of two of that name
        Assert.Equal([517, 64 + 256, 518], tokenizer.Encode("<|StartOfText|>a<|endoftext|>"));
        Assert.Equal([], tokenizer.Encode(" \t\u00a0\u3000\u2003 "));
    }

    [Fact]
    public void AllPlacesOfAPairAreMergedFromTheLeft()
    {
        ClipTokenizer tokenizer = Small("a a", "aa aa");
        Assert.Equal([513, 64, 320], tokenizer.Encode("aaaaaa"));
        Assert.Equal([512, 64, 321], tokenizer.Encode("aaab"));
    }

    /// <summary>The pair that was merged first in training is merged first, at all its places from the left, and so on: as the definition
    /// has it, on random words.</summary>
    [Fact]
    public void RandomWordsAreMergedAsTheDefinitionSays()
    {
        string[] merges = ["a b", "b a", "ab a", "c c", "cc ab", "a a", "aba b", "b b</w>", "ab c</w>", "aa aa", "cc cc", "b c"];
        ClipTokenizer tokenizer = Small(merges);
        var random = new Random(4);
        for (int trial = 0; trial < 300; trial++)
        {
            string word = string.Concat(Enumerable.Range(0, random.Next(1, 40)).Select(_ => "abc"[random.Next(3)]));
            List<string> parts = [.. word[..^1].Select(c => $"{c}"), $"{word[^1]}</w>"];
            while (Array.FindIndex(merges, m => Enumerable.Range(0, parts.Count - 1).Any(i => $"{parts[i]} {parts[i + 1]}" == m)) is >= 0 and var rank)
                for (int i = 0; i + 1 < parts.Count; i++)
                    if ($"{parts[i]} {parts[i + 1]}" == merges[rank]) (parts[i], _) = (parts[i] + parts[i + 1], Removed(parts, i + 1));
            int[] expected = [.. parts.Select(p => Array.FindIndex(merges, m => m.Replace(" ", "", StringComparison.Ordinal) == p) is >= 0 and var at ? 512 + at
                : p[0] - 'a' + 64 + (p.EndsWith("</w>", StringComparison.Ordinal) ? 256 : 0))];
            Assert.Equal(expected, tokenizer.Encode(word));
        }

        static bool Removed(List<string> list, int at)
        {
            list.RemoveAt(at);
            return true;
        }
    }

    /// <summary>As long as a word may be; looking through it once for each merge would take minutes.</summary>
    [Fact]
    public void AVeryLongWordIsNoMatter()
    {
        var random = new Random(4);
        string word = string.Concat(Enumerable.Range(0, 120_000).Select(_ => (char)('a' + random.Next(26))));
        string[] merges = [.. from a in Enumerable.Range('a', 26) from b in Enumerable.Range('a', 26) select $"{(char)a} {(char)b}"];
        Assert.InRange(Small(merges).Encode(word).Length, 60_000, 90_000);
    }

    [Fact]
    public void SequencesArePaddedOrCut()
    {
        ClipTokenizer tokenizer = Small("a a");
        Assert.Equal([513, 320, 514, 0, 0, 513, 64 + 256, 321, 514, 0], tokenizer.Encode(["a", "a b"], 5));
        Assert.Equal([513, 320, 321, 322, 514], tokenizer.Encode(["a b c d e"], 5, truncate: true));
        string message = Assert.Throws<EspalierException>(() => tokenizer.Encode(["a b c d"], 5)).Message;
        Assert.Contains("6 tokens", message);
        Assert.Contains("too long", Assert.Throws<EspalierException>(() => tokenizer.Encode(new string('a', 200_000))).Message);
    }

    [Theory]
    [InlineData("a", "line 2")]
    [InlineData("a b c", "line 2")]
    [InlineData("ab c", "line 2")]
    [InlineData("", "line 2")]
    public void ALineThatIsNoMergeIsNamed(string line, string reason)
    {
        string path = Written("#version\n" + line + "\na b\n");
        string message = Assert.Throws<EspalierException>(() => ClipTokenizer.Open(path, 516)).Message;
        Assert.StartsWith(path, message);
        Assert.Contains(reason, message);
    }

    [Fact]
    public void DamagedFilesAreOneLine()
    {
        string path = Written("#version\na b\n");
        Assert.Contains("1 merges, and 48894", Assert.Throws<EspalierException>(() => ClipTokenizer.Open(path)).Message);
        byte[] packed = Packed(string.Join('\n', ClipGolden.Merges()));
        File.WriteAllBytes(path, packed);
        Assert.Equal(600, ClipTokenizer.Open(path, 600).Size);
        File.WriteAllBytes(path, packed[..(packed.Length / 2)]);
        Assert.StartsWith(path, Assert.Throws<EspalierException>(() => ClipTokenizer.Open(path, 600)).Message);
        for (int i = 12; i < packed.Length; i += 7)
        {
            byte[] damaged = [.. packed];
            damaged[i] ^= 0x5a;
            File.WriteAllBytes(path, damaged);
            try
            {
                ClipTokenizer.Open(path, 600);
            }
            catch (EspalierException e)
            {
                Assert.DoesNotContain('\n', e.Message);
            }
        }
        File.WriteAllBytes(path, Packed(new string('x', 40 << 20)));
        Assert.Contains("refused", Assert.Throws<EspalierException>(() => ClipTokenizer.Open(path, 600)).Message);
        File.WriteAllBytes(path, [0x23, 0xff, 0xfe, 0x0a, 0x61]);
        Assert.Contains("UTF-8", Assert.Throws<EspalierException>(() => ClipTokenizer.Open(path, 600)).Message);
        Assert.Contains("no such file", Assert.Throws<EspalierException>(() => ClipTokenizer.Open(path + "x")).Message);
    }

    private static ClipTokenizer Small(params string[] merges) => new(merges, "vocabulary");

    private string Written(string text) => folder.File("vocabulary.txt", System.Text.Encoding.UTF8.GetBytes(text));

    private static byte[] Packed(string text)
    {
        using var file = new MemoryStream();
        using (var zip = new GZipStream(file, CompressionLevel.Fastest)) zip.Write(System.Text.Encoding.UTF8.GetBytes(text));
        return file.ToArray();
    }
}
