using Espalier.Tensors;

namespace Espalier.Compression.Methods.Apt;

/// <summary>What an agent is paid by: a number for each image, whose difference with and without a token is the reward.</summary>
public enum AgentReward
{
    /// <summary>The probability of the true class, as the published code has it: harmful tokens go first, which changes what the network
    /// says.</summary>
    TrueClass,

    /// <summary>How near the answer is to the one about the whole image: what says little goes first. Needs no labels.</summary>
    Agreement,
}

/// <summary>The numbers that rewards are differences of.</summary>
internal static class AptRewards
{
    /// <summary>[images] of some answers about a batch; rows of logits are the batch's images over and over.</summary>
    /// <param name="logits">[n images, classes].</param>
    /// <param name="labels">[images].</param>
    /// <param name="whole">[images, classes]: what is said about the whole images.</param>
    public static float[] Of(AgentReward by, Tensor logits, int[] labels, Tensor whole)
    {
        using (Recording.Pause())
        {
            using var scope = new Scope();
            return by == AgentReward.TrueClass ? TrueClass(F.Softmax(logits), labels) : Agreement(F.LogSoftmax(logits), F.LogSoftmax(whole));
        }
    }

    /// <summary>p(y).</summary>
    private static float[] TrueClass(Tensor p, int[] labels)
    {
        var result = new float[p.Shape[0]];
        for (int b = 0; b < result.Length; b++) result[b] = p.Span[b * p.Shape[1] + labels[b % labels.Length]];
        return result;
    }

    /// <summary>-KL(q, p) = Σ q (log p - log q), at most 0; q is of the whole image.</summary>
    private static float[] Agreement(Tensor logP, Tensor logQ)
    {
        (int images, int classes) = (logQ.Shape[0], logQ.Shape[1]);
        var result = new float[logP.Shape[0]];
        for (int b = 0; b < result.Length; b++)
        {
            ReadOnlySpan<float> p = logP.Span.Slice(b * classes, classes), q = logQ.Span.Slice(b % images * classes, classes);
            double sum = 0;
            for (int k = 0; k < classes; k++) sum += Math.Exp(q[k]) * ((double)p[k] - q[k]);
            result[b] = (float)sum;
        }
        return result;
    }
}
