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
