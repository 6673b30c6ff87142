using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Compression.Apt;

/// <summary>What a pruned pass gives.</summary>
/// <param name="Logits">[B, classes].</param>
/// <param name="Steps">The tokens that enter block 0, then those left after each agent.</param>
/// <param name="AgentInputs">What each agent saw, before it acted.</param>
public sealed record AptOutput(Tensor Logits, IReadOnlyList<PruneStep> Steps, IReadOnlyList<TokenRows> AgentInputs)
{
    /// <summary>Tokens of one image: those that enter block 0, then those left after each agent.</summary>
    public int[] TokensOf(int image) => [.. Steps.Select(s => s.Offsets.Length(image))];

    /// <summary>Which tokens those are.</summary>
    public int[][] KeptOf(int image) =>
        [.. Steps.Select(s => s.Tokens[s.Offsets[image]..s.Offsets[image + 1]])];
}

/// <summary>What an unpruned pass gives.</summary>
/// <param name="Logits">[B, classes].</param>
/// <param name="AgentInputs">What each agent would see.</param>
internal sealed record AptPlainOutput(Tensor Logits, IReadOnlyList<TokenRows> AgentInputs);

/// <summary>Which tokens of each image are left after an agent has acted.</summary>
/// <param name="Offsets">How many are left of which image.</param>
/// <param name="Rows">[rows left] the row that each had before the agent acted.</param>
/// <param name="Tokens">[rows left] which token of its image each is: 0 the class token, then the patches row by row.</param>
public sealed record PruneStep(RowSet Offsets, int[] Rows, int[] Tokens)
{
    /// <summary>Every token of every image.</summary>
    public static PruneStep All(RowSet offsets)
    {
        var rows = new int[offsets.Rows];
        var tokens = new int[offsets.Rows];
        for (int b = 0; b < offsets.Images; b++)
            for (int row = offsets[b]; row < offsets[b + 1]; row++) (rows[row], tokens[row]) = (row, row - offsets[b]);
        return new PruneStep(offsets, rows, tokens);
    }

    /// <summary>Drops each token whose probability is greater than the threshold, but no prefix token.</summary>
    /// <param name="pruneProbability">[rows] of this step's rows.</param>
    /// <param name="prefix">How many tokens at the front of each image always stay.</param>
    public PruneStep Prune(ReadOnlySpan<float> pruneProbability, float threshold, int prefix)
    {
        var rows = new List<int>(Offsets.Rows);
        var lengths = new int[Offsets.Images];
        for (int b = 0; b < Offsets.Images; b++)
        {
            int before = rows.Count;
            for (int row = Offsets[b]; row < Offsets[b + 1]; row++)
                if (Tokens[row] < prefix || !(pruneProbability[row] > threshold)) rows.Add(row);
            lengths[b] = rows.Count - before;
        }
        int[] kept = [.. rows];
        return new PruneStep(RowSet.FromLengths(lengths), kept, Array.ConvertAll(kept, r => Tokens[r]));
    }
}
