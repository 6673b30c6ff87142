using System.Diagnostics;
using Espalier.Cli;
using Espalier.Compression;
using Espalier.Data;
using Espalier.Tests;
using Xunit.Abstractions;

namespace Espalier.Reproduce.Tests;

/// <summary>Processes that share the runs of one folder; here they are threads.</summary>
public sealed class WorkShareTests(ITestOutputHelper said) : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    /// <summary>All lines begin with one run, which one of them makes and the others wait for.</summary>
    [Fact]
    public async Task Every_run_is_made_once_and_the_common_one_before_the_others()
    {
        var made = new List<string>();
        string[] lines = ["a", "b", "c", "d"];
        Task<RunRecord[]>[] workers = [.. Enumerable.Range(0, 3).Select(_ => Task.Factory.StartNew(
            () =>
            {
                NetworkRuns runs = Runs();
                RunRecord start = Do(runs, "start", () => runs.New("vanilla-c3", 1, 1));
                foreach (string line in runs.Mine(lines, l => l)) Do(runs, line, () => runs.Open("start"));
                return new[] { start };
            }, TaskCreationOptions.LongRunning))];
        RunRecord[][] ends = await Task.WhenAll(workers);
        Assert.All(ends, e => Assert.Equal(ends[0], e));
        Assert.Equal("start", made[0]);
        Assert.Equal(["start", .. lines], made.Order().OrderBy(n => n != "start"));
        Assert.All(lines, l => Assert.NotNull(Runs().Record(l)));

        RunRecord Do(NetworkRuns runs, string name, Func<Model> open) => runs.Do(name, open, new CompressionOptions(), _ =>
        {
            lock (made) made.Add(name);
            Thread.Sleep(20);
        });
    }

    [Fact]
    public void What_failed_in_one_is_said_in_the_other()
    {
        NetworkRuns one = Runs(), other = Runs();
        Assert.Throws<EspalierException>(() => one.Do("x", () => throw new EspalierException("no such shape"), new(), _ => { }));
        var e = Assert.Throws<EspalierException>(() => other.Do("x", () => one.New("vanilla-c3", 1, 1), new(), _ => { }));
        Assert.Equal("no such shape", e.Message);
    }

    [Fact]
    public void Alone_everything_is_mine()
    {
        Assert.Null(WorkShare.Of(folder));
        var runs = new NetworkRuns(Context(), folder, Datasets.Open("fashion-mnist-sample", null), 28);
        for (int i = 0; i < 2; i++) Assert.Equal([1, 2], runs.Mine([1, 2], n => $"{n}"));
        Assert.Empty(Directory.GetFiles(folder));
    }

    /// <summary>Real processes; where Open MPI is not installed nothing is checked, unless ESPALIER_EXPECT_MPI is set, or
    /// ESPALIER_EXPECT_ALL is 1.</summary>
    [Fact]
    public async Task Two_processes_share_an_experiment_and_one_writes()
    {
        if (!File.Exists("/usr/bin/mpirun"))
        {
            Missing.Say("mpirun at /usr/bin/mpirun", "openmpi-bin", said,
                Environment.GetEnvironmentVariable("ESPALIER_EXPECT_MPI") is not null);
            return;
        }
        var start = new ProcessStartInfo("/usr/bin/mpirun",
            ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", "2", "dotnet",
                Path.Combine(AppContext.BaseDirectory, "reproduce.dll"), "repr", "--tables", "paper", "--steps", "10", "--seeds", "7",
                "--threads", "1", "--output-dir", folder])
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        };
        using Process mpi = Process.Start(start)!;
        Task<string> output = mpi.StandardOutput.ReadToEndAsync(), error = mpi.StandardError.ReadToEndAsync();
        await mpi.WaitForExitAsync();
        Assert.True(mpi.ExitCode == 0, await error);
        Assert.Single((await output).Split('\n'), l => l.StartsWith("results ", StringComparison.Ordinal));
        Assert.Contains("The 6 runs were made by 1 thread of ", File.ReadAllText(Path.Combine(folder, "RESULTS.md")));
        Assert.Empty(Directory.GetFiles(folder, "*.claim"));
    }

    private NetworkRuns Runs() =>
        new(Context(), folder, Datasets.Open("fashion-mnist-sample", null), 28, share: new WorkShare(folder));

    private static CommandContext Context() => new(new Terminal(TextWriter.Null, TextWriter.Null, false, 120), default);
}
