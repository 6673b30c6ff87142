using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;

namespace Espalier.Reporting;

/// <summary>
/// Markup under construction. Text that is interpolated is escaped, without exception: class names and labels come from
/// strangers. Only another <see cref="Markup"/> goes in as it is.
/// </summary>
internal sealed class Markup
{
    private readonly StringBuilder text = new();

    public Markup Add([InterpolatedStringHandlerArgument("")] ref Handler piece)
    {
        _ = piece;                                              // its parts are already in the text
        return this;
    }

    /// <summary>A style sheet or a script of our own, which must not be escaped.</summary>
    public Markup Verbatim(string trusted)
    {
        text.Append(trusted);
        return this;
    }

    public override string ToString() => text.ToString();

    private void Escape(ReadOnlySpan<char> value)
    {
        for (int i = 0; i < value.Length; i++)
        {
            char c = value[i];
            bool pair = char.IsHighSurrogate(c) && i + 1 < value.Length && char.IsLowSurrogate(value[i + 1]);
            if (pair) text.Append(c).Append(value[++i]);
            else if (c is '&') text.Append("&amp;");
            else if (c is '<') text.Append("&lt;");
            else if (c is '>') text.Append("&gt;");
            else if (c is '"') text.Append("&quot;");
            else if (c is '\'') text.Append("&#39;");
            else if (IsText(c)) text.Append(c);
            else text.Append('\uFFFD');
        }
    }

    /// <summary>Characters that XML 1.0 allows, less the C1 controls and the lone surrogates.</summary>
    private static bool IsText(char c) =>
        c is '\t' or '\n' or '\r' || (c >= ' ' && c is not (>= '\x7F' and <= '\x9F') && c < '\uFFFE' && !char.IsSurrogate(c));

    /// <summary>Receives the parts of an interpolated string.</summary>
    [InterpolatedStringHandler]
    public readonly ref struct Handler(int literalLength, int holes, Markup markup)
    {
        private readonly StringBuilder text = Reserve(markup.text, literalLength + 8 * holes);

        public void AppendLiteral(string trusted) => text.Append(trusted);

        public void AppendFormatted(string? value) => markup.Escape(value);

        public void AppendFormatted(int value) => text.Append(CultureInfo.InvariantCulture, $"{value}");

        /// <summary>A coordinate: two digits after the point are below what a screen resolves.</summary>
        public void AppendFormatted(double value) => text.Append(value.ToString("0.##", CultureInfo.InvariantCulture));

        public void AppendFormatted(Markup value) => text.Append(value.text);

        private static StringBuilder Reserve(StringBuilder builder, int more)
        {
            builder.EnsureCapacity(builder.Length + more);
            return builder;
        }
    }
}
