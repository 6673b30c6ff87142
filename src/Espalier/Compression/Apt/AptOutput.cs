using Espalier.Tensors;

namespace Espalier.Compression.Apt;

/// <summary>What a pruned pass gives.</summary>
/// <param name="Logits">[B, classes].</param>
/// <param name="Steps">The tokens that enter block 0, then those left after each agent.</param>
/// <param name="AgentInputs">What each agent saw, before it acted: token rows [rows, D].</param>
public sealed record AptOutput(Tensor Logits, IReadOnlyList<RowSet> Steps, IReadOnlyList<Tensor> AgentInputs)
{
    /// <summary>Tokens of one image: those that enter block 0, then those left after each agent.</summary>
    public int[] TokensOf(int image) => [.. Steps.Select(s => s.Length(image))];

    /// <summary>Which tokens those are: 0 the class token, then the patches row by row.</summary>
    public int[][] KeptOf(int image) => [.. Steps.Select(s => s.Tokens[s[image]..s[image + 1]].ToArray())];
}

/// <summary>What an unpruned pass gives.</summary>
/// <param name="Logits">[B, classes].</param>
/// <param name="AgentInputs">What each agent would see.</param>
internal sealed record AptPlainOutput(Tensor Logits, IReadOnlyList<Tensor> AgentInputs);
