using Espalier.Compression.Methods.Apt;
using Espalier.Formats;
using Espalier.Tests.Imaging;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class AptBudgetTests
{
    [Fact]
    public void Without_a_target_threshold_and_margin_stay()
    {
        var budget = new AptBudget(2, 0.01f, null, 0.4f);
        for (int i = 0; i < 100; i++)
        {
            budget.ObserveCompute(1);
            budget.ObserveRewards(1, 1, 0.1);
        }
        Assert.Equal(0.4f, budget.Threshold, 1e-6f);
        Assert.Equal(0.01f, budget.Margin(1));
    }

    [Fact]
    public void The_threshold_finds_the_share_that_was_asked_for()
    {
        var budget = new AptBudget(1, 0, 0.4f);
        double share = 1;
        for (int i = 0; i < 2_000; i++)
        {
            share = budget.Threshold;          // a model that prunes the more the lower the threshold
            budget.ObserveCompute(share);
        }
        Assert.Equal(0.4, share, 0.01);
    }

    [Fact]
    public void The_margin_of_each_agent_finds_its_median_reward()
    {
        var budget = new AptBudget(2, 0, 0.5f);
        for (int i = 0; i < 2_000; i++)
        {
            double r = (i * 7919 % 1000) / 1000.0 * 0.02 - 0.015;   // spread evenly over -0.015 to 0.005
            budget.ObserveRewards(1, r > -budget.Margin(1) ? 1 : 0, Math.Abs(r));
        }
        Assert.Equal(0.005, budget.Margin(1), 0.002);   // one reward a step: it wavers around the median
        Assert.Equal(0, budget.Margin(0));
    }

    [Theory]
    [InlineData(1, 0.0)]
    [InlineData(3, 0.0)]
    [InlineData(2, double.NaN)]
    public void A_damaged_state_is_refused(int agents, double logit)
    {
        using var folder = new TempFolder();
        string path = Path.Combine(folder.Path, "run.state");
        var state = new StateWriter();
        state.Add("apt.margins", new double[agents]);
        state.Add("apt.reward-scales", new double[agents]);
        state.Add("apt.threshold-logit", logit);
        state.Write(path, new Dictionary<string, string>());
        using SafetensorsReader file = SafetensorsReader.Open(path);
        Assert.Throws<EspalierException>(() => new AptBudget(2, 0, 0.5f).Load(new StateReader(file)));
    }

    [Theory]
    [InlineData(0f)]
    [InlineData(1.2f)]
    [InlineData(-0.1f)]
    [InlineData(float.NaN)]
    public void A_share_that_is_none_is_refused(float target) => Assert.Throws<EspalierException>(() => new AptBudget(1, 0, target));
}
