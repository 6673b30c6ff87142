using System.Collections;
using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Text.Json;

namespace Espalier.Compression;

/// <summary>An option that only one method has, as the text that the command line takes and shows.</summary>
public sealed class MethodSetting
{
    private readonly Func<CompressionMethod, string> get;
    private readonly Func<CompressionMethod, string, CompressionMethod?> set;

    internal MethodSetting(string name, string property, string meaning, string allowed, CompressionMethod usual,
        Func<CompressionMethod, string> get, Func<CompressionMethod, string, CompressionMethod?> set)
    {
        (Name, Property, Meaning, Allowed, this.get, this.set) = (name, property, meaning, allowed, get, set);
        Usual = get(usual);
    }

    /// <summary>Such as "per-round".</summary>
    public string Name { get; }

    /// <summary>The property that it is, such as "PerRound".</summary>
    public string Property { get; }

    /// <summary>What it is where nothing is said.</summary>
    public string Usual { get; }

    public string Meaning { get; }

    /// <summary>The end of the sentence "it is ...": "a whole number from 0 to 10".</summary>
    public string Allowed { get; }

    /// <summary>Its value in a method.</summary>
    public string Of(CompressionMethod method) => get(method);

    /// <summary>The method with another value; null where the text is none that is allowed.</summary>
    public CompressionMethod? Set(CompressionMethod method, string text) => set(method, text);
}

/// <summary>
/// The settings of a method, written as a list of
/// <c>{ "per-round", m => m.PerRound, (m, x) => m with { PerRound = x }, 0, 9, "what it means" }</c>. Nothing is looked up by
/// reflection, so that trimmed programs have them too.
/// </summary>
public sealed class MethodSettings<T> : IReadOnlyList<MethodSetting>
    where T : CompressionMethod, new()
{
    private readonly List<MethodSetting> all = [];
    private readonly T usual = new();

    /// <inheritdoc/>
    public int Count => all.Count;

    /// <inheritdoc/>
    public MethodSetting this[int index] => all[index];

    /// <summary>A choice between two words.</summary>
    public void Add(string name, Func<T, bool> get, Func<T, bool, T> set, string meaning, string no = "no", string yes = "yes",
        [CallerArgumentExpression(nameof(get))] string property = "") =>
        Add(name, m => get(m) ? yes : no, (m, text) => text == yes ? set(m, true) : text == no ? set(m, false) : null, meaning,
            $"one of {(get(usual) ? yes : no)}, {(get(usual) ? no : yes)}", property);

    /// <summary>One of an enumeration's names, with small letters and hyphens.</summary>
    public void Add<TWord>(string name, Func<T, TWord> get, Func<T, TWord, T> set, string meaning,
        [CallerArgumentExpression(nameof(get))] string property = "")
        where TWord : struct, Enum
    {
        Dictionary<string, TWord> words = Words<TWord>();
        Add(name, m => Word(get(m)), (m, text) => words.TryGetValue(text, out TWord word) ? set(m, word) : null, meaning,
            $"one of {string.Join(", ", words.Keys)}", property);
    }

    /// <summary>The same, or "usual" for null: other settings say which it is.</summary>
    public void Add<TWord>(string name, Func<T, TWord?> get, Func<T, TWord?, T> set, string meaning,
        [CallerArgumentExpression(nameof(get))] string property = "")
        where TWord : struct, Enum
    {
        const string usually = "usual";
        Dictionary<string, TWord> words = Words<TWord>();
        Add(name, m => get(m) is { } own ? Word(own) : usually,
            (m, text) => text == usually ? set(m, null) : words.TryGetValue(text, out TWord word) ? set(m, word) : null, meaning,
            $"one of {usually}, {string.Join(", ", words.Keys)}", property);
    }

    private static Dictionary<string, TWord> Words<TWord>() where TWord : struct, Enum =>
        Enum.GetValues<TWord>().ToDictionary(w => Word(w));

    private static string Word<TWord>(TWord word) where TWord : struct, Enum => JsonNamingPolicy.KebabCaseLower.ConvertName(word.ToString());

    /// <summary>A number from <paramref name="low"/> to <paramref name="high"/>.</summary>
    public void Add<TNumber>(string name, Func<T, TNumber> get, Func<T, TNumber, T> set, TNumber low, TNumber high,
        string meaning, [CallerArgumentExpression(nameof(get))] string property = "")
        where TNumber : struct, INumber<TNumber>
    {
        string kind = TNumber.One / (TNumber.One + TNumber.One) == TNumber.Zero ? "a whole number" : "a number";
        string range = TNumber.IsFinite(high) ? $"from {Text(low)} to {Text(high)}" : $"of at least {Text(low)}";
        Add(name, m => Text(get(m)), (m, text) => TNumber.TryParse(text, CultureInfo.InvariantCulture, out TNumber x)
            && TNumber.IsFinite(x) && x >= low && x <= high ? set(m, x) : null, meaning, $"{kind} {range}", property);

        static string Text(TNumber x) => x.ToString(null, CultureInfo.InvariantCulture);
    }

    /// <summary>Whatever can be said in a text.</summary>
    /// <param name="set">Null for a text that is not allowed.</param>
    public void Add(string name, Func<T, string> get, Func<T, string, T?> set, string meaning, string allowed,
        [CallerArgumentExpression(nameof(get))] string property = "") => all.Add(new MethodSetting(name,
            property[(property.LastIndexOf('.') + 1)..], meaning, allowed, usual, m => get((T)m), (m, text) => set((T)m, text)));

    /// <inheritdoc/>
    public IEnumerator<MethodSetting> GetEnumerator() => all.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
