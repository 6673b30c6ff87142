using System.Globalization;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>Drops tokens behind the attention of a few blocks, a share of those that are there at each.</summary>
public abstract record TokenStages : TokenMethod
{
    /// <summary>Of the n tokens behind those in front ceil(Keep · n) stay; null for as many as the target for multiply-adds lets
    /// stay.</summary>
    public double? Keep { get; init; }

    /// <summary>Behind which attentions tokens are dropped, by the number of the block from 0, rising; null for those after each
    /// quarter of the network, which are 3, 6 and 9 of 12.</summary>
    public IReadOnlyList<int>? Blocks { get; init; }

    /// <summary>The settings that all such methods have.</summary>
    private protected static MethodSettings<T> Stages<T>() where T : TokenStages, new()
    {
        static T Keeps(TokenStages m, double? share) => (T)(m with { Keep = share });
        static T At(TokenStages m, IReadOnlyList<int>? list) => (T)(m with { Blocks = list });

        return new()
        {
            { "keep", m => m.Keep?.ToString(CultureInfo.InvariantCulture) ?? "target", (m, text) =>
                text == "target" ? Keeps(m, null)
                : double.TryParse(text, CultureInfo.InvariantCulture, out double share) && share is > 0 and <= 1
                    ? Keeps(m, share) : null,
                "share of the tokens that stay at each stage", "target or a number above 0, at most 1", nameof(Keep) },
            { "blocks", m => m.Blocks is null ? "quarters"
                : string.Join('+', m.Blocks), (m, text) => text == "quarters" ? At(m, null)
                : BlockList.Parse(text) is { } list ? At(m, list) : null,
                "blocks, from 0, behind whose attention tokens are dropped",
                    "quarters or rising numbers with + between, such as 3+6+9",
                nameof(Blocks) },
        };
    }

    private protected sealed override string? OwnNumber => Keep is null ? null : nameof(Keep);

    private protected sealed override TokenMethod Fitted(Graph graph, TransformerBlocks blocks)
    {
        // By thousandths.
        return Keep is not null ? this : Mildest(graph, 1000, n => this with { Keep = 1 - n / 1000.0 });
    }

    private protected sealed override void Edit(TransformerBlocks blocks)
    {
        TransformerBlock[] some = [.. BlockList.Of(Blocks, blocks, Name, [1, 2, 3]).Select(i => blocks.Blocks[i])];
        if (some.FirstOrDefault(b => b.MlpInput != b.AfterAttention) is { } done)
            throw new EspalierException($"{Name}: block {done.Index} drops tokens already; say other Blocks");
        foreach (TransformerBlock block in some) Drop(blocks, block);
    }

    /// <summary>Drops tokens between the attention and the MLP of a block.</summary>
    private protected abstract void Drop(TransformerBlocks blocks, TransformerBlock block);
}

/// <summary>Numbers of blocks as an option.</summary>
internal static class BlockList
{
    /// <summary>Null where the text is no such list.</summary>
    public static IReadOnlyList<int>? Parse(string text)
    {
        string[] parts = text.Split('+');
        int[] list = [.. parts.Select(p => int.TryParse(p, NumberStyles.None, CultureInfo.InvariantCulture, out int n) ? n : -1)];
        for (int i = 0; i < list.Length; i++) if (list[i] < 0 || (i > 0 && list[i] <= list[i - 1])) return null;
        return list;
    }

    /// <summary>A list, checked, or the first blocks behind some quarters of a network.</summary>
    public static IReadOnlyList<int> Of(IReadOnlyList<int>? list, TransformerBlocks blocks, string method, int[] quarters)
    {
        int count = blocks.Blocks.Count;
        if (list is null) return [.. quarters.Select(q => q * count / 4).Distinct()];
        for (int i = 0; i < list.Count; i++)
            if (list[i] < 0 || list[i] >= count || (i > 0 && list[i] <= list[i - 1]))
                throw new EspalierException($"{method}: Blocks is {string.Join('+', list)}; they rise from 0 to at most {count - 1}");
        return list;
    }
}
