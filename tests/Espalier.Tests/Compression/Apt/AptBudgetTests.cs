using Espalier.Compression.Apt;

namespace Espalier.Tests.Compression.Apt;

public sealed class AptBudgetTests
{
    [Fact]
    public void Without_a_target_the_margin_stays()
    {
        var budget = new AptBudget(0.01f, null);
        for (int i = 0; i < 100; i++) budget.Observe(1);
        Assert.Equal(0.01f, budget.Margin);
    }

    [Fact]
    public void Above_the_target_the_margin_grows_and_below_it_shrinks()
    {
        var budget = new AptBudget(0, 0.5f);
        budget.Observe(0.9);
        float grown = budget.Margin;
        Assert.True(grown > 0);
        for (int i = 0; i < 10; i++) budget.Observe(0.2);
        Assert.True(budget.Margin < grown);
    }

    [Theory]
    [InlineData(0f)]
    [InlineData(1.2f)]
    [InlineData(-0.1f)]
    [InlineData(float.NaN)]
    public void A_share_that_is_none_is_refused(float target) => Assert.Throws<EspalierException>(() => new AptBudget(0, target));
}
