using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>
/// How the columns of queries, keys and values are divided into attention heads, one head after another. A head's queries and
/// keys are as wide as one another; its values and results may have another width, and each head widths of its own.
/// </summary>
public sealed unsafe class HeadLayout : IEquatable<HeadLayout>
{
    // Prefix sums of the widths, [heads + 1]; pinned, as kernels read them.
    private readonly int[] queryColumns, valueColumns;

    /// <param name="queryWidths">Columns of each head's queries and keys.</param>
    /// <param name="valueWidths">Columns of each head's values.</param>
    public HeadLayout(ReadOnlySpan<int> queryWidths, ReadOnlySpan<int> valueWidths)
    {
        int count = queryWidths.Length;
        if (count != valueWidths.Length || count == 0)
            throw new ArgumentException($"a head layout of {count} query widths and {valueWidths.Length} value widths");
        (queryColumns, valueColumns) = (Sums(queryWidths), Sums(valueWidths));
        for (int n = 0; n < Count; n++)
            IsUniform &= queryWidths[n] == queryWidths[0] && valueWidths[n] == valueWidths[0];
    }

    /// <summary>Number of heads.</summary>
    public int Count => queryColumns.Length - 1;

    /// <summary>Columns of queries and of keys, of all heads.</summary>
    public int QueryWidth => queryColumns[^1];

    /// <summary>Columns of values and results, of all heads.</summary>
    public int ValueWidth => valueColumns[^1];

    /// <summary>Whether all heads have the same widths.</summary>
    public bool IsUniform { get; } = true;

    /// <summary>[heads + 1] first column of each head in queries and keys, the last entry being their number.</summary>
    public ReadOnlySpan<int> QueryColumns => queryColumns;

    /// <summary>[heads + 1] the same of values and results.</summary>
    public ReadOnlySpan<int> ValueColumns => valueColumns;

    /// <summary>All heads alike.</summary>
    public static HeadLayout Uniform(int count, int width) => Uniform(count, width, width);

    /// <inheritdoc cref="Uniform(int, int)"/>
    public static HeadLayout Uniform(int count, int queryWidth, int valueWidth)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        int[] query = new int[count], value = new int[count];
        Array.Fill(query, queryWidth);
        Array.Fill(value, valueWidth);
        return new HeadLayout(query, value);
    }

    /// <summary>Columns of one head's queries and keys.</summary>
    public int QueryWidthOf(int head) => queryColumns[head + 1] - queryColumns[head];

    /// <summary>Columns of one head's values and results.</summary>
    public int ValueWidthOf(int head) => valueColumns[head + 1] - valueColumns[head];

    /// <summary>The same of ops that know no values: those are as wide as queries.</summary>
    internal HeadLayout OfQueries()
    {
        int[] widths = [.. Widths(queryColumns)];
        return widths.AsSpan().SequenceEqual([.. Widths(valueColumns)]) ? this : new HeadLayout(widths, widths);
    }

    /// <summary>What is left where only some columns stay; heads of which none does are gone.</summary>
    /// <param name="queries">[query columns] whether each stays.</param>
    /// <param name="values">[value columns].</param>
    /// <exception cref="ArgumentException">Nothing stays, or of some head only queries or only values.</exception>
    public HeadLayout Keep(ReadOnlySpan<bool> queries, ReadOnlySpan<bool> values)
    {
        List<int> queryWidths = [], valueWidths = [];
        for (int n = 0; n < Count; n++)
        {
            int query = queries[queryColumns[n]..queryColumns[n + 1]].Count(true);
            int value = values[valueColumns[n]..valueColumns[n + 1]].Count(true);
            if (query == 0 && value == 0) continue;
            if (query == 0 || value == 0)
                throw new ArgumentException($"head {n} would keep {query} query and {value} value columns; it needs some of both, or none");
            queryWidths.Add(query);
            valueWidths.Add(value);
        }
        return new HeadLayout([.. queryWidths], [.. valueWidths]);
    }

    public bool Equals(HeadLayout? other) => other is not null
        && queryColumns.AsSpan().SequenceEqual(other.queryColumns) && valueColumns.AsSpan().SequenceEqual(other.valueColumns);

    public override bool Equals(object? obj) => Equals(obj as HeadLayout);

    public override int GetHashCode() => HashCode.Combine(Count, QueryWidth, ValueWidth);

    public override string ToString() => IsUniform
        ? $"{Count} heads of {QueryWidthOf(0)} and {ValueWidthOf(0)} columns"
        : $"{Count} heads of {string.Join(", ", Widths(queryColumns))} and {string.Join(", ", Widths(valueColumns))} columns";

    /// <summary>What an op writes into its settings: the number of heads that are alike follows from the columns of queries, which
    /// may have lost whole heads.</summary>
    internal void Save(OpSettings settings)
    {
        if (IsUniform) settings.Set("queryWidth", QueryWidthOf(0)).Set("valueWidth", ValueWidthOf(0));
        else settings.Set("queryWidths", Widths(queryColumns)).Set("valueWidths", Widths(valueColumns));
    }

    /// <param name="columns">Columns of the queries.</param>
    internal static HeadLayout Read(OpSettings settings, int columns)
    {
        if (settings.Has("queryWidths")) return new HeadLayout(settings.Ints("queryWidths"), settings.Ints("valueWidths"));
        int query = settings.Int("queryWidth"), value = settings.Int("valueWidth");
        if (query < 1 || columns < query || columns % query != 0)
            throw new ArgumentException($"{columns} columns of queries do not divide into heads of {query}");
        return Uniform(columns / query, query, value);
    }

    /// <summary>This layout, or what is left of it for so many columns of queries where heads that are alike were removed whole.
    /// </summary>
    internal HeadLayout For(int columns)
    {
        int query = QueryWidthOf(0);
        return columns == QueryWidth || !IsUniform || columns < query || columns % query != 0
            ? this : Uniform(columns / query, query, ValueWidthOf(0));
    }

    /// <summary>The heads of images whose rows are given, for the kernels; good as long as the layout is.</summary>
    internal AttentionHeads Over(int* queries, int* keys, int images, float scale) =>
        new(queries, keys, images, Count, Pinned(queryColumns), Pinned(valueColumns), scale);

    private static int* Pinned(int[] columns) => (int*)Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(columns));

    private static int[] Sums(ReadOnlySpan<int> widths)
    {
        int[] sums = GC.AllocateArray<int>(widths.Length + 1, pinned: true);
        for (int n = 0; n < widths.Length; n++)
        {
            if (widths[n] < 1 || widths[n] > int.MaxValue - sums[n])
                throw new ArgumentException($"head {n} has a width of {widths[n]}");
            sums[n + 1] = sums[n] + widths[n];
        }
        return sums;
    }

    private static IEnumerable<int> Widths(int[] columns)
    {
        for (int n = 1; n < columns.Length; n++) yield return columns[n] - columns[n - 1];
    }
}

/// <summary>An op whose operands' columns are divided into heads, which removing some of them changes.</summary>
internal interface IOfHeads
{
    HeadLayout Heads { get; }

    /// <summary>An operand with the columns of queries, and one with those of values.</summary>
    Tensor Queries { get; }

    Tensor Values { get; }

    /// <summary>The op for other heads, on shapes that fit them.</summary>
    Op WithHeads(HeadLayout heads);
}
