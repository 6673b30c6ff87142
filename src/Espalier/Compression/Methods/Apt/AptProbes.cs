using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.Apt;

/// <summary>
/// The probes of one agent on one batch: for each image one token is dropped for real, to see what its loss does to the
/// probability of the true class.
/// </summary>
internal sealed class AptProbes
{
    private readonly Tensor context;
    private readonly RowSet rows;
    private readonly int[] dropped;

    private AptProbes(Tensor context, RowSet rows, int[] dropped) => (this.context, this.rows, this.dropped) = (context, rows, dropped);

    /// <summary>
    /// Picks the tokens: the one with the greatest p(prune), or with probability <see cref="Apt.Exploration"/> any. Ties go
    /// to the first. An image with nothing left to drop loses nothing and teaches nothing: see <see cref="Usable"/>.
    /// </summary>
    public static AptProbes Pick(TokenAgent agent, Tensor context, int prefix, Apt options, ref Rng rng)
    {
        RowSet rows = context.Rows!;
        float[] scores = [];
        if (options.Exploration < 1)
        {
            using Tensor score = agent.ScoreOnly(context);
            scores = score.ToArray();
        }
        var dropped = new int[rows.Images];
        for (int b = 0; b < dropped.Length; b++)
        {
            int tokens = rows.Length(b), first = rows[b];
            if (tokens <= prefix)
            {
                dropped[b] = -1;
                continue;
            }
            if (options.Exploration > 0 && rng.NextFloat() < options.Exploration)
            {
                int bound = options.ExploreBatchRange ? Math.Min(tokens, Math.Max(dropped.Length, prefix + 1)) : tokens;
                dropped[b] = prefix + rng.NextInt(bound - prefix);
                continue;
            }
            int best = prefix;
            for (int t = prefix + 1; t < tokens; t++) if (scores[first + t] < scores[first + best]) best = t;
            dropped[b] = best;
        }
        return new AptProbes(context, rows, dropped);
    }

    /// <summary>[images] the dropped token of each, counted from the image's first row; -1 where there was none to drop.</summary>
    public IReadOnlyList<int> Dropped => dropped;

    /// <summary>Whether image b had a token to drop.</summary>
    public bool Usable(int image) => dropped[image] >= 0;

    /// <summary>The batch without the dropped tokens.</summary>
    public Tensor Rows()
    {
        var left = new List<int>(rows.Rows);
        for (int b = 0; b < rows.Images; b++)
        {
            int skip = Usable(b) ? rows[b] + dropped[b] : -1;
            for (int row = rows[b]; row < rows[b + 1]; row++) if (row != skip) left.Add(row);
        }
        int[] index = [.. left];
        return F.GatherRows(context, index, rows.Keep(index));
    }

    /// <summary>
    /// The agent's loss: cross-entropy of its decision on each dropped token against what the reward says, 1 (prune) where
    /// p_new(y) - p_old(y) > -margin, else 0; mean over the images. Recorded, so that only the agent learns from it.
    /// </summary>
    /// <param name="before">p(true class) of each image with the token.</param>
    /// <param name="after">p(true class) without it.</param>
    public Tensor? Loss(TokenAgent agent, ReadOnlySpan<float> before, ReadOnlySpan<float> after, float margin, out ProbeRewards rewards)
    {
        var classRows = new List<int>();
        var tokenRows = new List<int>();
        var labels = new List<int>();
        double magnitude = 0;
        for (int b = 0; b < dropped.Length; b++)
        {
            if (!Usable(b)) continue;
            classRows.Add(rows[b]);
            tokenRows.Add(rows[b] + dropped[b]);
            float reward = after[b] - before[b];
            labels.Add(reward > -margin ? 1 : 0);
            magnitude += MathF.Abs(reward);
        }
        int n = Math.Max(labels.Count, 1);
        rewards = new ProbeRewards((double)labels.Sum() / n, magnitude / n);
        if (labels.Count == 0) return null;
        Tensor classTokens, tokens;
        using (Recording.Pause())
        {
            classTokens = F.GatherRows(context, [.. classRows]);
            tokens = F.GatherRows(context, [.. tokenRows]);
        }
        return F.CrossEntropy(agent.Logits(classTokens, tokens), [.. labels]);
    }
}

/// <summary>What an agent's probes of one step said.</summary>
/// <param name="PruneShare">Share that was labelled "prune".</param>
/// <param name="MeanAbsolute">Mean |p_new(y) - p_old(y)|.</param>
internal readonly record struct ProbeRewards(double PruneShare, double MeanAbsolute);
