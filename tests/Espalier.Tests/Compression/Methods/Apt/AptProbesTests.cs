using Espalier.Compression.Methods.Apt;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Tests.Models;

namespace Espalier.Tests.Compression.Methods;

public sealed class AptProbesTests
{
    private const int Width = 4, Tokens = 197, Images = 4;

    [Theory]
    [InlineData(false, 196)]
    [InlineData(true, 3)]
    public void Random_probes_reach_every_patch_or_only_the_first_of_the_published_code(bool batchRange, int greatest)
    {
        TokenAgent agent = NewAgent();
        using var scope = new Scope();
        Tensor x = Random(RowSet.Uniform(Images, Tokens));
        var options = new Apt { Exploration = 1, ExploreBatchRange = batchRange };
        var rng = new Rng(2);
        var seen = new HashSet<int>();
        for (int i = 0; i < 5_000; i++) seen.UnionWith(AptProbes.Pick(agent, x, 1, options, ref rng).Dropped);
        Assert.Equal(1, seen.Min());
        Assert.Equal(greatest, seen.Max());
    }

    [Fact]
    public void A_greedy_probe_drops_the_token_that_its_agent_likes_least()
    {
        TokenAgent agent = NewAgent();
        using var scope = new Scope();
        Tensor x = Random(RowSet.FromLengths([5, 1, 9]));
        var rng = new Rng(2);
        AptProbes probe = AptProbes.Pick(agent, x, 1, new Apt { Exploration = 0 }, ref rng);

        float[] p = agent.PruneProbabilities(x);
        Assert.Equal(1 + IndexOfMax(p[1..5]), probe.Dropped[0]);
        Assert.False(probe.Usable(1));
        Assert.Equal(1 + IndexOfMax(p[7..15]), probe.Dropped[2]);

        Tensor rest = probe.Rows();
        Assert.Equal([4, 1, 8], Enumerable.Range(0, 3).Select(rest.Rows!.Length));
        int gone = probe.Dropped[0];
        Assert.Equal(x.ToArray()[..(gone * Width)], rest.ToArray()[..(gone * Width)]);
        Assert.Equal(x.ToArray()[((gone + 1) * Width)..(5 * Width)], rest.ToArray()[(gone * Width)..(4 * Width)]);
    }

    [Theory]
    [InlineData(0.70f, 0.71f, 0f, 1)]
    [InlineData(0.70f, 0.70f, 0f, 0)]
    [InlineData(0.70f, 0.69f, 0f, 0)]
    [InlineData(0.70f, 0.69f, 0.02f, 1)]
    public void Only_a_gain_is_worth_a_prune_and_a_margin_forgives_a_loss(float before, float after, float margin, int expected)
    {
        TokenAgent agent = NewAgent();
        using var scope = new Scope();
        Tensor x = Random(RowSet.Uniform(1, 6));
        var rng = new Rng(2);
        AptProbes probe = AptProbes.Pick(agent, x, 1, new Apt(), ref rng);
        probe.Loss(agent, [before], [after], margin, out ProbeRewards rewards);
        Assert.Equal(expected, rewards.PruneShare);
        Assert.Equal(Math.Abs(after - before), rewards.MeanAbsolute, 1e-6);
    }

    /// <summary>What the agent drops is put back, what it keeps is taken away, and either way the reward is that of dropping.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Where_an_agent_acts_its_choice_is_changed_in_one_token(bool keeps)
    {
        TokenAgent agent = NewAgent();
        using var scope = new Scope();
        Tensor x = Random(RowSet.Uniform(1, 6));
        float[] p = agent.PruneProbabilities(x);
        float between = keeps ? p[1..].Max() + 0.01f : p[1..].Min() - 0.01f;
        var rng = new Rng(2);
        AptProbes probe = AptProbes.Pick(agent, x, 1, new Apt { Exploration = 0, Context = AgentContext.Acting }, ref rng, between);
        int unsure = 1 + IndexOfMax([.. p[1..].Select(q => keeps ? q : -q)]);
        Assert.Equal(unsure, probe.Dropped[0]);
        Assert.Equal(keeps ? 6 : 1, probe.Kept().Shape[0]);
        Assert.Equal(keeps ? 5 : 2, probe.Rows().Shape[0]);
        // The changed choice is paid more: it is worth dropping the kept token, and worth keeping the dropped one.
        probe.Loss(agent, [0.5f], [0.6f], 0, out ProbeRewards rewards);
        Assert.Equal(keeps ? 1 : 0, rewards.PruneShare);
    }

    [Fact]
    public void Rewards_by_hand()
    {
        using var scope = new Scope();
        // Softmax of (log 3, 0) is (3/4, 1/4).
        Tensor whole = Tensor.From(new Shape(1, 2), [MathF.Log(3), 0]), answers = Tensor.From(new Shape(2, 2), [MathF.Log(3), 0, 0, 0]);
        Assert.Equal([0.25f, 0.5f], AptRewards.Of(AgentReward.TrueClass, answers, [1], whole));
        float[] paid = AptRewards.Of(AgentReward.Agreement, answers, [1], whole);
        Assert.Equal(0, paid[0], 1e-7f);
        Assert.Equal(0.75 * Math.Log(0.5 / 0.75) + 0.25 * Math.Log(0.5 / 0.25), paid[1], 1e-6);
    }

    private static TokenAgent NewAgent()
    {
        var rng = new Rng(1);
        return TokenAgent.Create(Width, ref rng);
    }

    private static Tensor Random(RowSet offsets)
    {
        var rng = new Rng(6);
        var rows = new Tensor(new Shape(offsets.Rows, Width));
        Init.Normal(rows, 1, ref rng);
        rows.Rows = offsets;
        return rows;
    }

    private static int IndexOfMax(float[] values) => Array.IndexOf(values, values.Max());
}
