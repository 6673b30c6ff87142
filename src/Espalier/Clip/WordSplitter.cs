using System.Globalization;
using System.Text;

namespace Espalier.Clip;

/// <summary>
/// Words as CLIP's expression finds them in lower-cased text: special tokens, the ends of English contractions, runs of letters,
/// single number characters, and runs of what is none of these and no space. By code points, so that letters beyond the first
/// plane are letters.
/// </summary>
internal static class WordSplitter
{
    private static readonly string[] Endings = ["'s", "'\u017f", "'t", "'re", "'ve", "'m", "'ll", "'d"];

    private enum Kind
    {
        Space, Letter, Number, Other,
    }

    /// <param name="specials">Found before anything else, and each a word of its own.</param>
    public static IEnumerable<string> Split(string text, string[] specials)
    {
        for (int at = 0; at < text.Length;)
        {
            int end = at;
            if ((Known(text, at, specials) ?? Known(text, at, Endings)) is { } known) end += known.Length;
            else
            {
                Kind kind = KindAt(text, ref end);
                if (kind is Kind.Letter or Kind.Other)
                    for (int next = end; next < text.Length && KindAt(text, ref next) == kind;) end = next;
                if (kind == Kind.Space)
                {
                    at = end;
                    continue;
                }
            }
            yield return text[at..end];
            at = end;
        }
    }

    private static string? Known(string text, int at, string[] words) =>
        Array.Find(words, word => string.CompareOrdinal(text, at, word, 0, word.Length) == 0);

    /// <summary>Also moves behind the character.</summary>
    private static Kind KindAt(string text, ref int at)
    {
        // Half a surrogate pair is a character of its own, and other than letters.
        Rune.DecodeFromUtf16(text.AsSpan(at), out Rune rune, out int length);
        at += length;
        if (Rune.IsWhiteSpace(rune)) return Kind.Space;
        return Rune.GetUnicodeCategory(rune) switch
        {
            UnicodeCategory.UppercaseLetter or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
                or UnicodeCategory.ModifierLetter or UnicodeCategory.OtherLetter => Kind.Letter,
            UnicodeCategory.DecimalDigitNumber or UnicodeCategory.LetterNumber or UnicodeCategory.OtherNumber => Kind.Number,
            _ => Kind.Other,
        };
    }
}
