using Espalier.Clip;

namespace Espalier.Tests.Clip;

/// <summary>What becomes of a text before it is cut into words; by Python's html, unicodedata and str.lower, and ftfy's
/// documents.
/// </summary>
public sealed class TextCleaningTests
{
    [Theory]
    [InlineData("  A\t\n B\u00a0\u2003\u3000C \u2028 ", "a b c")]
    [InlineData("&amp;lt; x", "< x")]
    [InlineData("&amp;amp;amp;lt;", "<")]
    [InlineData("a < b &amp;lt;", "a < b <")]
    [InlineData("AT&T &copy2024 &notit; &notin;", "at&t \u00a92024 \u00acit; \u2209")]
    [InlineData("&#65;&#x42;&#X43;&#0;&#128;&#x110000;&#xd800;&#12345678901234567890;", "abc\ufffd\u20ac\ufffd\ufffd\ufffd")]
    [InlineData("&EACUTE;&eacute;&nosuch;&;&#;&#x;", "\u00e9\u00e9&nosuch;&;&#;&#x;")]
    [InlineData("&acE;", "\u223e\u0333")]
    [InlineData("\u201cit\u2019s\u201d \u02bc\u201b", "\"it's\" ''")]
    [InlineData("\ufb01ne \u0133s \uff21\uff22\uff01 \uff76\uff9e \u01c4", "fine ijs ab! \u30ac d\u017e")]
    [InlineData("a\u0000\u0007\u001b[31mred\u001b[0m\ufeff\u206a\u007fb", "aredb")]
    [InlineData("\u0085\u0091x\u0092", "\u2026'x'")]
    [InlineData("e\u0301 \u1100\u1161\u11a8 \u212b \u0344 q\u0307\u0323", "\u00e9 \uac01 \u00e5 \u0308\u0301 q\u0323\u0307")]
    [InlineData("\u09c7\u09be \u0958 \u2126", "\u09cb \u0915\u093c \u03c9")]
    [InlineData("\u0130STANBUL \u039f\u0394\u039f\u03a3 \u03a3 \u03a3\u03a6 \u0391\u03a3. \u0391\u03a3\u0392 \ud801\udc00",
        "i\u0307stanbul \u03bf\u03b4\u03bf\u03c2 \u03c3 \u03c3\u03c6 \u03b1\u03c2. \u03b1\u03c3\u03b2 \ud801\udc28")]
    [InlineData("a\r\nb\rc", "a b c")]
    [InlineData("x\u200by \u200d", "x\u200by \u200d")]
    public void TextIsCleaned(string text, string cleaned) => Assert.Equal(cleaned, TextCleaning.Clean(text));

    /// <summary>A number without its semicolon takes in what looks like its digits once the other one was read.</summary>
    [Fact]
    public void ReferencesAreReadAgain() => Assert.Equal("\u044c", TextCleaning.Clean("&#x42&#X43;"));

    [Fact]
    public void HalvesOfPairsAreReplaced() =>
        Assert.Equal("a\ufffdb\ufffdc \ud83d\ude00", TextCleaning.Clean("a\ud83db\ude00c \ud83d\ude00"));

    [Theory]
    [InlineData("it's we're don't i'll x'd", "it 's we 're don 't i 'll x 'd")]
    [InlineData("'s't 'tis'v", "'s 't 't is ' v")]
    [InlineData("abc123 4\u00bd\u0663", "abc 1 2 3 4 \u00bd \u0663")]
    [InlineData("a!?b--\ud83d\ude00\ud83d\udc4d c", "a !? b --\ud83d\ude00\ud83d\udc4d c")]
    [InlineData("\u4f60\u597d,\u4e16\u754c \u0e44\u0e17\u0e22\u0e35", "\u4f60\u597d , \u4e16\u754c \u0e44\u0e17\u0e22 \u0e35")]
    [InlineData("\ud801\udc28\ud835\udc9c x\u0307y", "\ud801\udc28\ud835\udc9c x \u0307 y")]
    [InlineData("<|endoftext|>a<|endoftext|> !<|endoftext|>", "<|endoftext|> a <|endoftext|> !<| endoftext |>")]
    public void WordsAreFound(string text, string words) =>
        Assert.Equal(words, string.Join(' ', WordSplitter.Split(text, ["<|startoftext|>", "<|endoftext|>"])));
}
