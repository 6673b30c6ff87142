using System.Text;

namespace Espalier.Clip;

/// <summary>Unicode's normal form C (UAX 15): a letter and its marks are one character where there is one.</summary>
internal static class NormalForm
{
    // Hangul syllables are computed: three parts, numbered.
    private const int SBase = 0xAC00, LBase = 0x1100, VBase = 0x1161, TBase = 0x11A7, LCount = 19, VCount = 21, TCount = 28;
    private const int SCount = LCount * VCount * TCount;

    /// <param name="text">Without halves of surrogate pairs.</param>
    public static string Compose(string text)
    {
        // Below the first combining mark nothing decomposes that is not composed again.
        if (text.All(c => c < 0x300)) return text;
        TextData data = TextData.Instance;
        List<int> codes = Ordered(Decomposed(text, data), data);
        int starter = -1, last = 0, count = 0;
        for (int i = 0; i < codes.Count; i++)
        {
            int code = codes[i], kind = data.ClassOf(code);
            bool blocked = starter < 0 || (count > starter + 1 && last >= kind);
            if (!blocked && Together(codes[starter], code, data) is { } composed)
            {
                codes[starter] = composed;
                continue;
            }
            if (kind == 0) starter = count;
            last = kind;
            codes[count++] = code;
        }
        var built = new StringBuilder(text.Length);
        foreach (int code in codes.Take(count)) built.Append(new Rune(code).ToString());
        return built.ToString();
    }

    private static List<int> Decomposed(string text, TextData data)
    {
        var codes = new List<int>(text.Length);
        foreach (Rune rune in text.EnumerateRunes())
        {
            int syllable = rune.Value - SBase;
            if (syllable is >= 0 and < SCount)
            {
                codes.Add(LBase + syllable / (VCount * TCount));
                codes.Add(VBase + syllable % (VCount * TCount) / TCount);
                if (syllable % TCount != 0) codes.Add(TBase + syllable % TCount);
            }
            else if (data.Decomposed(rune.Value) is { } parts) codes.AddRange(parts);
            else codes.Add(rune.Value);
        }
        return codes;
    }

    /// <summary>Marks behind one another by their class; those of one class stay as they are.</summary>
    private static List<int> Ordered(List<int> codes, TextData data)
    {
        for (int start = 0; start < codes.Count; start++)
        {
            int end = start;
            while (end < codes.Count && data.ClassOf(codes[end]) != 0) end++;
            if (end - start > 1)
            {
                int[] marks = [.. codes[start..end].OrderBy(data.ClassOf)];
                for (int i = 0; i < marks.Length; i++) codes[start + i] = marks[i];
            }
            start = Math.Max(start, end);
        }
        return codes;
    }

    private static int? Together(int first, int second, TextData data)
    {
        int l = first - LBase, v = second - VBase, s = first - SBase, t = second - TBase;
        if (l is >= 0 and < LCount && v is >= 0 and < VCount) return SBase + (l * VCount + v) * TCount;
        if (s is >= 0 and < SCount && s % TCount == 0 && t is > 0 and < TCount) return first + t;
        return data.Composed(first, second);
    }
}
