using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Models;

public sealed class TokenAgentTests
{
    [Fact]
    public void The_worked_example_of_two_dimensions()
    {
        TokenAgent agent = Example(biasPrune: 0.05f);
        using var scope = new Scope();
        Tensor classToken = Tensor.From(new Shape(1, 2), [1, 2]), token = Tensor.From(new Shape(1, 2), [3, -1]);

        Tensor logits = agent.Logits(classToken, token);
        Assert.Equal(0, logits.Span[0], 1e-6f);
        Assert.Equal(0.25f, logits.Span[1], 1e-6f);
        Assert.Equal(0.5759394f, F.CrossEntropy(logits, [1]).Item(), 1e-6f);
        Assert.Equal(0.8259394f, F.CrossEntropy(logits, [0]).Item(), 1e-6f);

        float[] p = agent.PruneProbabilities(Rows([1, 2, 3, -1], 2));
        Assert.Equal(0.5621765f, p[1], 1e-6f);
    }

    [Fact]
    public void A_token_with_equal_logits_is_kept()
    {
        TokenAgent agent = Example(biasPrune: 0);
        foreach (var (name, tensor) in agent.Weights) if (name.StartsWith("fc", StringComparison.Ordinal)) tensor.Fill(0);
        using var scope = new Scope();
        Tensor x = Rows([1, 2, 3, -1, 5, 6], 2);
        float[] p = agent.PruneProbabilities(x);
        Assert.All(p, value => Assert.Equal(0.5f, value));
        Assert.Equal(3, F.KeepRows(x, agent.Score(x), KeepRule.AtLeast(-0.5f)).Shape[0]);
        Assert.Equal(1, F.KeepRows(x, agent.Score(x), KeepRule.AtLeast(-0.49f)).Shape[0]);
    }

    [Theory]
    [InlineData(192, 111_938)]
    [InlineData(384, 445_058)]
    [InlineData(768, 1_774_850)]
    [InlineData(1024, 3_152_898)]
    [InlineData(1280, 4_924_162)]
    public void Parameter_counts(int width, long expected)
    {
        var rng = new Rng(1);
        TokenAgent agent = TokenAgent.Create(width, ref rng);
        Assert.Equal(expected, agent.Weights.Sum(w => w.Value.Length));
    }

    [Theory]
    [InlineData(7)]
    [InlineData(64)]
    [InlineData(129)]
    public void The_folded_scores_are_those_of_the_plain_form(int width)
    {
        var rng = new Rng(3);
        TokenAgent agent = TokenAgent.Create(width, ref rng);
        using var scope = new Scope();
        int[] lengths = [5, 1, 17];
        Tensor rows = new(new Shape(23, width));
        Init.Normal(rows, 1, ref rng);
        rows.Rows = RowSet.FromLengths(lengths);

        float[] folded = agent.PruneProbabilities(rows);
        int[] classRow = [.. lengths.SelectMany((n, b) => Enumerable.Repeat(rows.Rows[b], n))];
        Tensor plain = F.Softmax(agent.Logits(F.GatherRows(rows, classRow), rows));
        for (int row = 0; row < 23; row++) Assert.Equal(plain.Span[2 * row + 1], folded[row], 1e-5f);
    }

    [Fact]
    public void A_keep_bias_moves_the_keep_logit_only()
    {
        Rng one = new(1), two = new(1);
        TokenAgent plain = TokenAgent.Create(4, ref one);
        TokenAgent biased = TokenAgent.Create(4, ref two, keepBias: 2);
        float[] a = plain.Weights.Single(p => p.Name == "fc.bias").Value.ToArray();
        float[] b = biased.Weights.Single(p => p.Name == "fc.bias").Value.ToArray();
        Assert.Equal(a[0] + 2, b[0]);
        Assert.Equal(a[1], b[1]);
    }

    private static TokenAgent Example(float biasPrune)
    {
        var rng = new Rng(1);
        TokenAgent agent = TokenAgent.Create(2, ref rng);
        foreach (var (name, t) in agent.Weights)
        {
            float[] value = name switch
            {
                "fc.weight" => [0, 0, 0, 0, 0.1f, 0.2f, 0.3f, 0.4f],
                "fc.bias" => [0, biasPrune],
                _ when name.EndsWith("weight", StringComparison.Ordinal) => [1, 0, 0, 1],
                _ => [0, 0],
            };
            value.CopyTo(t.Span);
        }
        return agent;
    }

    private static Tensor Rows(float[] values, int width)
    {
        Tensor rows = Tensor.From(new Shape(values.Length / width, width), values);
        rows.Rows = RowSet.Uniform(1, rows.Shape[0]);
        return rows;
    }
}
