using Espalier.Compression.Apt;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Apt;

internal static class AgentScores
{
    /// <summary>p(prune) of every token row.</summary>
    public static float[] PruneProbabilities(this AptAgent agent, Tensor rows) => F.Neg(agent.Score(rows)).ToArray();
}
