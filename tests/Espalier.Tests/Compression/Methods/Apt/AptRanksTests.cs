using Espalier.Compression;
using Espalier.Compression.Methods.Apt;
using Espalier.Tests.Distributed;

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
}
