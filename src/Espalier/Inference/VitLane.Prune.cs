using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Inference;

/// <content>What an agent does between two blocks.</content>
internal sealed unsafe partial class VitLane
{
    /// <summary>Scores every row, drops tokens, and moves the rows that stay together.</summary>
    private void Prune(AgentWeights agent, in Pruning pruning)
    {
        for (int b = 0; b < images; b++)
        {
            new ReadOnlySpan<float>(x + (nint)offsets[b] * width, width)
                .CopyTo(new Span<float>(prefixNormed + (nint)b * width, width));
        }

        agent.Directions(images, width, prefixNormed, prefixMixed);
        int to = 0;
        for (int b = 0; b < images; b++)
        {
            int from = offsets[b], end = offsets[b + 1];
            offsets[b] = to;
            Score(agent, b, from, end);
            to = Compact(from, end, to, pruning);
        }

        offsets[images] = to;
    }

    private void Score(AgentWeights agent, int image, int from, int end)
    {
        var direction = new ReadOnlySpan<float>(prefixMixed + (nint)image * width, width);
        float constant = agent.Constant(new ReadOnlySpan<float>(prefixNormed + (nint)image * width, width));
        for (int row = from; row < end; row++)
        {
            float score = constant + TensorPrimitives.Dot(direction, new ReadOnlySpan<float>(x + (nint)row * width, width));
            // No number: kept, as by the rule of the threshold.
            scores[row] = float.IsNaN(score) ? float.NegativeInfinity : score;
        }
    }

    /// <summary>Moves the rows that stay of one image to <paramref name="to"/>, which is never after them, and returns where they
    /// end.</summary>
    private int Compact(int from, int end, int to, in Pruning pruning)
    {
        int patches = from + prefix;
        float limit = pruning.Limit;
        int ties = 0;
        if (pruning.ByShare) (limit, ties) = Lowest(patches, end, pruning.Kept(end - patches));
        for (int row = from; row < end; row++)
        {
            bool keep = row < patches || (pruning.ByShare
                ? scores[row] < limit || (scores[row] == limit && ties-- > 0)
                : !(1 / (1 + MathF.Exp(-scores[row])) > limit));
            if (!keep) continue;
            if (to != row)
            {
                new ReadOnlySpan<float>(x + (nint)row * width, width).CopyTo(new Span<float>(x + (nint)to * width, width));
                ids[to] = ids[row];
            }

            to++;
        }

        return to;
    }

    /// <summary>The <paramref name="count"/>-th lowest score, and how many of those equal to it are among the lowest.</summary>
    private (float Limit, int Ties) Lowest(int from, int end, int count)
    {
        if (count == 0) return (float.NegativeInfinity, 0);
        var copy = new Span<float>(sorted, end - from);
        new ReadOnlySpan<float>(scores + from, copy.Length).CopyTo(copy);
        copy.Sort();
        float limit = copy[count - 1];
        int ties = 1;
        while (ties < count && copy[count - 1 - ties] == limit) ties++;
        return (limit, ties);
    }
}
