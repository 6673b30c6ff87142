using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Compression.Methods.Apt;

/// <summary>
/// The probes of one agent on one batch: for each image one token is dropped for real, to see what its loss does to the answer. Where
/// the agent itself has acted, a token that it drops is put back, which says the same.
/// </summary>
internal sealed class AptProbes
{
    private readonly Tensor context;
    private readonly RowSet rows;
    private readonly int[] dropped;
    private readonly bool[]? kept;

    private AptProbes(Tensor context, RowSet rows, int[] dropped, bool[]? kept) =>
        (this.context, this.rows, this.dropped, this.kept) = (context, rows, dropped, kept);

    /// <summary>
    /// Picks the tokens: the one with the greatest p(prune), or with probability <see cref="Apt.Exploration"/> any. Where the agent
    /// has acted, the one that it is least sure of takes the place of the former. Ties go to the first. An image with nothing left
    /// to drop loses nothing and teaches nothing: see <see cref="Usable"/>.
    /// </summary>
    /// <param name="context">What the agent sees.</param>
    /// <param name="prefix">Tokens of each image that always stay.</param>
    /// <param name="threshold">A token is dropped where p(prune) is greater.</param>
    public static AptProbes Pick(TokenAgent agent, Tensor context, int prefix, Apt options, ref Rng rng, float threshold = 0.5f)
    {
        bool acts = options.Acts;
        RowSet rows = context.Rows!;
        float[] scores = [];
        if (options.Exploration < 1 || acts)
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
            for (int t = prefix + 1; t < tokens; t++) if (Rank(first + t) < Rank(first + best)) best = t;
            dropped[b] = best;
        }
        if (!acts) return new AptProbes(context, rows, dropped, null);
        bool[] kept = [.. scores.Select(s => !(s < -threshold))];
        for (int b = 0; b < dropped.Length; b++) kept.AsSpan(rows[b], Math.Min(prefix, rows.Length(b))).Fill(true);
        return new AptProbes(context, rows, dropped, kept);

        float Rank(int row) => acts ? MathF.Abs(scores[row] + threshold) : scores[row];
    }

    /// <summary>[images] the probed token of each, counted from the image's first row; -1 where there was none to drop.</summary>
    public IReadOnlyList<int> Dropped => dropped;

    /// <summary>Whether image b had a token to drop.</summary>
    public bool Usable(int image) => dropped[image] >= 0;

    /// <summary>The batch without the probed tokens; with those that the agent drops.</summary>
    public Tensor Rows() => Rows(changed: true);

    /// <summary>The batch as the agent leaves it.</summary>
    public Tensor Kept() => Rows(changed: false);

    private Tensor Rows(bool changed)
    {
        var left = new List<int>(rows.Rows);
        for (int b = 0; b < rows.Images; b++)
        {
            int probed = changed && Usable(b) ? rows[b] + dropped[b] : -1;
            for (int row = rows[b]; row < rows[b + 1]; row++)
            {
                bool stays = kept is null || kept[row];
                if (row == probed ? !stays : stays) left.Add(row);
            }
        }
        int[] index = [.. left];
        return F.GatherRows(context, index, rows.Keep(index));
    }

    /// <summary>
    /// The agent's loss: cross-entropy of its decision on each probed token against what the reward says, 1 (prune) where
    /// what is paid without the token, less that with it, > -margin, else 0; mean over the images. Recorded, so that only the agent
    /// learns from it.
    /// </summary>
    /// <param name="before">What is paid for each image as it was, see <see cref="AptRewards"/>.</param>
    /// <param name="after">What is paid for <see cref="Rows()"/>.</param>
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
            float reward = kept is null || kept[rows[b] + dropped[b]] ? after[b] - before[b] : before[b] - after[b];
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
/// <param name="MeanAbsolute">The mean size of the rewards.</param>
internal readonly record struct ProbeRewards(double PruneShare, double MeanAbsolute);
