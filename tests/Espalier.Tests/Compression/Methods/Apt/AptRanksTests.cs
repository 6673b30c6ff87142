using Espalier.Compression;
using Espalier.Compression.Methods.Apt;
using Espalier.Tests.Distributed;
using Espalier.Tests.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class AptRanksTests
{
    /// <summary>The agents' budget follows what all ranks have seen, so all have the same threshold and the same weights.</summary>
    [Fact]
    public void AgentsLearnOnAllRanks()
    {
        var ends = MemoryRanks.Run(2, ranks =>
        {
            using Model own = RanksTests.New("vit-tiny-28");
            TokenAgents.Add(own);
            var task = new AptTask(own, new Apt { Budget = 0.5f });
            RanksTests.Train(own, task, RanksTests.Options with { Ranks = ranks });
            return (task.Threshold, own.Graph.Parameters.Sum(p => p.Value.ToArray().Sum(v => (double)v)));
        });
        Assert.Equal(ends[0], ends[1]);
        Assert.NotEqual(0.5f, ends[0].Threshold);
    }
    /// <summary>The parts between agents keep and compute again what they need each on their own, on as many tokens as
    /// before.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(0.2f)]
    public void CheckpointedActivationsGiveTheSameWeights(float dropout) => CheckpointedActivationsTests.AssertSameRun(
        () =>
        {
            Model model = RanksTests.New("vit-tiny-28");
            TokenAgents.Add(model);
            return model;
        },
        model => new AptTask(model, new Apt { Budget = 0.5f, PlainLoss = 1 }, dropout));
}
