using System.Globalization;

namespace Espalier.Formats;

/// <summary>
/// The one shape of dictionary that numpy writes: three keys in any order, a quoted type, True or False, and a tuple of
/// non-negative integers.
/// </summary>
internal ref struct NpyHeaderParser(string text, string name)
{
    private readonly ReadOnlySpan<char> text = text;
    private int at;

    public NpyHeader Parse(int headerLength)
    {
        string? descr = null;
        bool? fortran = null;
        List<long>? dims = null;
        Expect('{');
        while (!Accept('}'))
        {
            string key = QuotedText();
            Expect(':');
            switch (key)
            {
                case "descr" when descr is null: descr = Descr(); break;
                case "fortran_order" when fortran is null: fortran = TrueOrFalse(); break;
                case "shape" when dims is null: dims = Dims(); break;
                default: throw Bad();
            }
            if (Accept(',')) continue;
            Expect('}');
            break;
        }
        SkipBlanks();
        if (at != text.Length || descr is null || fortran is null || dims is null) throw Bad();
        int[] shape = ArrayShape.Check(name, dims, out int count);
        return new NpyHeader(TypeOf(descr), fortran.Value, shape, count, headerLength);
    }

    private readonly ElementType TypeOf(string descr)
    {
        // bfloat16 is no type of numpy's own: JAX's arrays of it are saved as plain two-byte cells.
        if (descr is "|V2" or "<V2") return ElementType.BF16;
        if (descr.Length > 1 && descr[0] == '>')
            throw Npy.Bad(name, "is big-endian; convert it with numpy's astype('<f4')");
        if (descr.Length > 1 && (descr[0] is '<' or '|') && ElementTypes.TryParseNumpy(descr[1..], out ElementType type))
            return type;
        throw Npy.Bad(name, $"has elements of type {ReadGuard.Quote(descr)}; only plain numbers are read");
    }

    private string Descr()
    {
        SkipBlanks();
        if (at < text.Length && text[at] == '[') throw Npy.Bad(name, "has structured elements; only plain numbers are read");
        return QuotedText();
    }

    private bool TrueOrFalse()
    {
        SkipBlanks();
        bool value = text[at..].StartsWith("True", StringComparison.Ordinal);
        if (!value && !text[at..].StartsWith("False", StringComparison.Ordinal)) throw Bad();
        at += value ? 4 : 5;
        return value;
    }

    private List<long> Dims()
    {
        List<long> dims = [];
        Expect('(');
        while (!Accept(')'))
        {
            if (dims.Count > ArrayShape.MaxRank) throw Bad();
            SkipBlanks();
            int start = at;
            if (at < text.Length && text[at] == '-') at++;
            while (at < text.Length && char.IsAsciiDigit(text[at])) at++;
            if (!long.TryParse(text[start..at], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long dim))
                throw Bad();
            dims.Add(dim);
            Accept('L');    // Python 2 wrote its long integers so
            if (Accept(',')) continue;
            Expect(')');
            break;
        }
        return dims;
    }

    private string QuotedText()
    {
        SkipBlanks();
        if (at >= text.Length || text[at] is not ('\'' or '"')) throw Bad();
        int length = text[(at + 1)..].IndexOf(text[at]);
        if (length < 0) throw Bad();
        string quoted = text.Slice(at + 1, length).ToString();
        at += length + 2;
        return quoted;
    }

    private bool Accept(char wanted)
    {
        SkipBlanks();
        if (at >= text.Length || text[at] != wanted) return false;
        at++;
        return true;
    }

    private void Expect(char wanted)
    {
        if (!Accept(wanted)) throw Bad();
    }

    private void SkipBlanks()
    {
        while (at < text.Length && (text[at] == ' ' || text[at] == '\n')) at++;
    }

    private readonly InvalidDataException Bad() => Npy.Bad(name, "has a damaged .npy header");
}
