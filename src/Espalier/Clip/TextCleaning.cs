using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace Espalier.Clip;

/// <summary>
/// What CLIP's code does to a text before it looks for words: the repairs of ftfy 6 (straight quotes, usual widths, no
/// ligatures and control characters, normal form C), HTML references read twice, white space made single spaces, small letters
/// as Python has them. Text that was decoded wrongly ("mojibake") is not repaired: ftfy guesses there.
/// </summary>
internal static partial class TextCleaning
{
    private const int MostRounds = 64;

    private static readonly Dictionary<char, string> Ligatures = new()
    {
        ['\u0132'] = "IJ", ['\u0133'] = "ij", ['\u0149'] = "\u02bcn", ['\u01f1'] = "DZ", ['\u01f2'] = "Dz", ['\u01f3'] = "dz",
        ['\u01c4'] = "D\u017d", ['\u01c5'] = "D\u017e", ['\u01c6'] = "d\u017e", ['\u01c7'] = "LJ", ['\u01c8'] = "Lj",
            ['\u01c9'] = "lj",
        ['\u01ca'] = "NJ", ['\u01cb'] = "Nj", ['\u01cc'] = "nj", ['\ufb00'] = "ff", ['\ufb01'] = "fi", ['\ufb02'] = "fl",
        ['\ufb03'] = "ffi", ['\ufb04'] = "ffl", ['\ufb05'] = "\u017ft", ['\ufb06'] = "st",
    };

    /// <summary>All of it.</summary>
    public static string Clean(string text)
    {
        text = HtmlText.Unescape(HtmlText.Unescape(Repair(text)));
        return Lower(Spaces(text));
    }

    /// <summary>The repairs, line by line.</summary>
    private static string Repair(string text)
    {
        var built = new StringBuilder(text.Length);
        bool unescape = true;
        for (int at = 0; at < text.Length;)
        {
            int end = text.IndexOf('\n', at) + 1;
            if (end == 0) end = text.Length;
            string line = text[at..end];
            // A line with a tag may be HTML, and so may all behind it.
            unescape &= !line.Contains('<', StringComparison.Ordinal);
            for (int round = 0; round < MostRounds; round++)
            {
                string before = line;
                if (unescape) line = HtmlText.UnescapeWhole(line);
                line = NormalForm.Compose(Characters(line));
                if (line == before) break;
            }
            built.Append(line);
            at = end;
        }
        return built.ToString();
    }

    private static string Characters(string text)
    {
        if (text.All(c => c is >= ' ' and < '\x7f')) return text;
        var built = new StringBuilder(text.Length);
        for (int i = 0; i < text.Length; i++)
        {
            char c = HtmlText.OfWindows(text[i]);
            if (char.IsHighSurrogate(c) && i + 1 < text.Length
                && char.IsLowSurrogate(text[i + 1])) built.Append(c).Append(text[++i]);
            else if (char.IsSurrogate(c)) built.Append('\ufffd');
            else if (Ligatures.TryGetValue(c, out string? letters)) Add(letters);
            else if (c == '\u3000') built.Append(' ');
            else if (c is >= '\uff01' and < '\ufff0' && TextData.Instance.Widths.TryGetValue(c, out string? usual)) Add(usual);
            else built.Append(Straight(c));
        }
        string whole = Escapes().Replace(built.Replace("\r\n", "\n").ToString(), "");
        return string.Concat(whole.Select(c => c is '\r' or '\u2028' or '\u2029' ? '\n' : c).Where(c => !IsControl(c)));

        void Add(string characters)
        {
            foreach (char c in characters) built.Append(Straight(c));
        }
    }

    private static char Straight(char c) => c switch
    {
        '\u02bc' or (>= '\u2018' and <= '\u201b') => '\'',
        >= '\u201c' and <= '\u201f' => '"',
        _ => c,
    };

    private static bool IsControl(char c) => c is <= '\u0008' or '\u000b' or (>= '\u000e' and <= '\u001f') or '\u007f'
        or (>= '\u206a' and <= '\u206f') or '\ufeff' or (>= '\ufff9' and <= '\ufffc');

    private static string Spaces(string text)
    {
        var built = new StringBuilder(text.Length);
        foreach (char c in text)
        {
            if (!char.IsWhiteSpace(c)) built.Append(c);
            else if (built.Length > 0 && built[^1] != ' ') built.Append(' ');
        }
        return built.ToString().TrimEnd(' ');
    }

    /// <summary>Small letters. The Greek sigma is another one at the end of a word, and a dotted capital I keeps its
    /// dot.</summary>
    private static string Lower(string text)
    {
        if (text.All(c => c < 0x80)) return text.ToLowerInvariant();
        var built = new StringBuilder(text.Length);
        Rune[] runes = [.. text.EnumerateRunes()];
        for (int i = 0; i < runes.Length; i++)
        {
            if (runes[i].Value == 0x130) built.Append("i\u0307");
            else if (runes[i].Value == 0x3a3) built.Append(IsFinal(runes, i) ? '\u03c2' : '\u03c3');
            else built.Append(Rune.ToLowerInvariant(runes[i]).ToString());
        }
        return built.ToString();
    }

    /// <summary>Behind a letter and not in front of one, marks and the like apart (Unicode 15, section 3.13).</summary>
    private static bool IsFinal(Rune[] runes, int at)
    {
        int before = at - 1, after = at + 1;
        while (before >= 0 && IsIgnored(runes[before])) before--;
        while (after < runes.Length && IsIgnored(runes[after])) after++;
        return before >= 0 && IsCased(runes[before]) && !(after < runes.Length && IsCased(runes[after]));
    }

    private static bool IsCased(Rune rune) => Rune.GetUnicodeCategory(rune) is UnicodeCategory.UppercaseLetter
        or UnicodeCategory.LowercaseLetter or UnicodeCategory.TitlecaseLetter
        || rune.Value is 0xaa or 0xba or (>= 0x2160 and <= 0x217f) or (>= 0x24b6 and <= 0x24e9);

    private static bool IsIgnored(Rune rune) => Rune.GetUnicodeCategory(rune) is UnicodeCategory.NonSpacingMark
        or UnicodeCategory.EnclosingMark or UnicodeCategory.Format or UnicodeCategory.ModifierLetter
        or UnicodeCategory.ModifierSymbol
        || rune.Value is '\'' or '.' or ':' or 0xb7 or 0x387 or 0x55f or 0x5f4 or 0x2018 or 0x2019 or 0x2024 or 0x2027 or 0xfe13
            or 0xfe52 or 0xfe55 or 0xff07 or 0xff0e or 0xff1a;

    /// <summary>Colours of a terminal.</summary>
    [GeneratedRegex(@"\x1b\[((?:[0-9]|;)*)([a-zA-Z])")]
    private static partial Regex Escapes();
}
