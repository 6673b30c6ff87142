using System.Globalization;
using System.Text;

namespace Espalier.Clip;

/// <summary>
/// Facts about characters that are the same for everyone but no part of the runtime's invariant mode: HTML 5's entities,
/// Unicode's normal form C, widths. Read from a resource when a first text asks.
/// </summary>
internal sealed class TextData
{
    private const string Resource = "Espalier.Clip.text.txt";

    private static readonly Lazy<TextData> Loaded = new(() => new TextData());

    private readonly Dictionary<int, int[]> decompositions = [];
    private readonly Dictionary<(int, int), int> compositions = [];
    private readonly Dictionary<int, int> classes = [];

    private TextData()
    {
        using Stream stream = typeof(TextData).Assembly.GetManifestResourceStream(Resource)!;
        using var reader = new StreamReader(stream, Encoding.ASCII);
        while (reader.ReadLine() is { } line)
        {
            string[] parts = line.Split(' ');
            switch (parts[0])
            {
                case "E": Entities.Add(parts[1], Text(parts[2..])); break;
                case "W": Widths.Add((char)Code(parts[1]), Text(parts[2..])); break;
                case "D": decompositions.Add(Code(parts[1]), [.. parts[2..].Select(Code)]); break;
                case "C": compositions.Add((Code(parts[1]), Code(parts[2])), Code(parts[3])); break;
                default:
                    string[] range = parts[1].Split('-');
                    for (int c = Code(range[0]); c <= Code(range[1]); c++) classes.Add(c, Code(parts[2]));
                    break;
            }
        }
    }

    public static TextData Instance => Loaded.Value;

    /// <summary>By name, with the semicolon where it must have one; some have both forms.</summary>
    public Dictionary<string, string> Entities { get; } = new(StringComparer.Ordinal);

    /// <summary>What narrow and wide forms are of.</summary>
    public Dictionary<char, string> Widths { get; } = [];

    /// <summary>Canonical combining class.</summary>
    public int ClassOf(int code) => classes.GetValueOrDefault(code);

    /// <summary>What a character is made of; null where it is its own.</summary>
    public int[]? Decomposed(int code) => decompositions.GetValueOrDefault(code);

    /// <summary>The character that two make; null where they make none.</summary>
    public int? Composed(int first, int second) => compositions.TryGetValue((first, second), out int code) ? code : null;

    private static int Code(string hex) => int.Parse(hex, NumberStyles.HexNumber, CultureInfo.InvariantCulture);

    private static string Text(string[] codes) => string.Concat(codes.Select(c => new Rune(Code(c)).ToString()));
}
