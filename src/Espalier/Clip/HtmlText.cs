using System.Globalization;
using System.Text;

namespace Espalier.Clip;

/// <summary>Character references of HTML 5, as Python's <c>html.unescape</c> reads them: names also without their semicolon,
/// and the longest name that a word begins with.</summary>
internal static class HtmlText
{
    private const int LongestName = 33;

    // What browsers make of numbers of Windows' characters, which Unicode has for control characters.
    private const string Windows = "\u20ac\u0081\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\u008d"
        + "\u017d\u008f\u0090\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\u009d\u017e\u0178";

    /// <summary>Windows' character for a C1 control character; others stay.</summary>
    public static char OfWindows(char c) => c is >= '\u0080' and <= '\u009f' ? Windows[c - 0x80] : c;

    /// <summary>All references that there are.</summary>
    public static string Unescape(string text)
    {
        int at = text.IndexOf('&', StringComparison.Ordinal);
        if (at < 0) return text;
        var built = new StringBuilder(text, 0, at, text.Length);
        while (at < text.Length)
        {
            int length = 1;
            string? made = text[at] == '&' ? Reference(text, at, out length) : null;
            if (made is null) built.Append(text[at++]);
            else
            {
                built.Append(made);
                at += length;
            }
        }
        return built.ToString();
    }

    /// <summary>References that end with a semicolon and are read whole, as ftfy has it; names may be in capitals, which then
    /// is the letter in capitals.</summary>
    public static string UnescapeWhole(string text)
    {
        int at = text.IndexOf('&', StringComparison.Ordinal);
        if (at < 0) return text;
        var built = new StringBuilder();
        for (at = 0; at < text.Length;)
        {
            int end = text[at] == '&' ? text.IndexOf(';', at, Math.Min(27, text.Length - at)) : -1;
            string? made = end > at + 1 && IsName(text.AsSpan(at + 1, end - at - 1)) ? Whole(text[at..(end + 1)]) : null;
            built.Append(made ?? text[at].ToString());
            at = made is null ? at + 1 : end + 1;
        }
        return built.ToString();
    }

    private static bool IsName(ReadOnlySpan<char> name)
    {
        if (name[0] == '#') name = name[1..];
        return name.Length is > 0 and <= 24 && !name.ContainsAnyExceptInRange('0', 'z') && name.IndexOfAny(":;<=>?@[\\]^_`") < 0;
    }

    private static string? Whole(string reference)
    {
        Dictionary<string, string> entities = TextData.Instance.Entities;
        string name = reference[1..];
        if (entities.TryGetValue(name, out string? made)) return made;
        string unescaped = Unescape(reference);
        if (name[0] == '#') return unescaped.Contains(';', StringComparison.Ordinal) ? null : unescaped;
        string lower = name.ToLowerInvariant();
        bool capital = name == name.ToUpperInvariant() && unescaped == reference && entities.ContainsKey(lower);
        return capital ? entities[lower].ToUpperInvariant() : null;
    }

    /// <summary>What the reference at a place stands for; null where it is none.</summary>
    private static string? Reference(string text, int at, out int length)
    {
        length = 1;
        int start = at + 1;
        if (start < text.Length && text[start] == '#') return Number(text, at, out length);
        int end = start;
        while (end < text.Length && end - start < LongestName - 1 && !" \t\n\f<&#;".Contains(text[end],
            StringComparison.Ordinal)) end++;
        if (end < text.Length && text[end] == ';' && end > start) end++;
        for (; end - start >= 2; end--)
        {
            if (!TextData.Instance.Entities.TryGetValue(text[start..end], out string? made)) continue;
            length = end - at;
            return made;
        }
        return null;
    }

    private static string? Number(string text, int at, out int length)
    {
        length = 1;
        int start = at + 2;
        bool hex = start < text.Length && text[start] is 'x' or 'X';
        if (hex) start++;
        int end = start;
        long code = 0;
        for (; end < text.Length && (hex ? char.IsAsciiHexDigit(text[end]) : char.IsAsciiDigit(text[end])); end++)
        {
            int digit = int.Parse(text.AsSpan(end, 1), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            code = Math.Min(code * (hex ? 16 : 10) + digit, 0x110000);
        }
        if (end == start) return null;
        length = end - at + (end < text.Length && text[end] == ';' ? 1 : 0);
        return code switch
        {
            0 => "\ufffd",
            0x0d => "\r",
            >= 0x80 and <= 0x9f => OfWindows((char)code).ToString(),
            (>= 0xd800 and <= 0xdfff) or > 0x10ffff => "\ufffd",
            (>= 1 and <= 8) or 0x0b or (>= 0x0e and <= 0x1f) or 0x7f or (>= 0xfdd0 and <= 0xfdef) => "",
            _ when (code & 0xfffe) == 0xfffe => "",
            _ => new Rune((int)code).ToString(),
        };
    }
}
