using Espalier.Compression;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Models;

namespace Espalier.Tests.Formats;

/// <summary>Configurations that are no files, do not end, or have half a character in them: one line each.</summary>
public sealed class SmallFileTests : IDisposable
{
    private const string HalfPair = "\"\\ud800\"";

    private readonly string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public void Half_a_surrogate_pair_is_one_line()
    {
        OneLine(() => VitConfig.Parse($"{{\"hiddenSize\":64,\"mlpDim\":128,\"numHeads\":4,\"numLayers\":2,\"stem\":{HalfPair}}}", "file"));
        OneLine(() => VitConfig.Parse($"{{{HalfPair}:64}}", "file"));
        OneLine(() => Preprocessing.Parse($"{{\"filter\":{HalfPair}}}", "file"));
        OneLine(() => CnnStructure.Parse($"{{\"config\":{{\"network\":{HalfPair}}}}}", "file"));
        OneLine(() => ModelStructure.Parse($"{{\"format\":1,\"architecture\":{HalfPair}}}", "file"));
        string plan = Path.Combine(folder, "plan.json");
        File.WriteAllText(plan, $"{{\"format\":1,\"groups\":[{{\"name\":{HalfPair},\"of\":4,\"remove\":[1]}}]}}");
        OneLine(() => RemovalPlan.Load(plan));
    }

    [Fact]
    public void A_device_that_does_not_end_is_not_read_to_its_end()
    {
        if (!OperatingSystem.IsLinux()) return;
        foreach (Action read in new Action[] { () => VitConfig.Read("/dev/zero"), () => Preprocessing.Read("/dev/zero") })
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            OneLine(read);
            Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 16 << 20);
        }
        OneLine(() => Model.Open("/dev/zero"));
        OneLine(() => CheckpointFile.Read("/dev/zero"));
    }

    /// <summary>Entries of one group are joined once and not one by one: each would go through all before it.</summary>
    [Fact]
    public void A_plan_of_many_entries_is_the_plan_of_their_sum()
    {
        const int count = 60_000;
        string path = Path.Combine(folder, "plan.json");
        File.WriteAllText(path, "{\"format\":1,\"groups\":["
            + string.Join(',', Enumerable.Range(0, count).Select(i => $"{{\"name\":\"a\",\"of\":{count},\"remove\":[{i}]}}")) + "]}");
        Assert.Equal(Enumerable.Range(0, count), RemovalPlan.Load(path).Channels["a"]);
    }

    private static void OneLine(Action read) => Assert.DoesNotContain('\n', Assert.Throws<EspalierException>(read).Message);
}
