using System.Diagnostics;

namespace Espalier.Cli.Tests.Verbs;

/// <summary>
/// A training process that is killed loses nothing that it had written. scripts/kill-test.sh does the same fifty times.
/// </summary>
public sealed class KillTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData(0)]
    [InlineData(60)]
    [InlineData(250)]
    public async Task A_killed_run_leaves_checkpoints_that_load_and_resumes(int milliseconds)
    {
        string[] arguments =
            [.. Golden.Train(folder.Path, 100_000), "--checkpoint-every", "1", "--eval-every", "3", "--threads", "1"];
        using (Process training = Tool.Start(arguments))
        {
            await WaitFor(() => File.Exists(folder.File("apt.state")), training);
            await Task.Delay(milliseconds);
            training.Kill();
            await training.WaitForExitAsync();
        }
        foreach (string file in Directory.GetFiles(folder.Path, "*.safetensors")) Model.Open(file).Dispose();

        using var cancel = new CancellationTokenSource();
        var output = new StopAfter("step ", cancel);
        Outcome resumed = Tool.Run(output, cancel.Token, [.. arguments, "--resume"]);
        Assert.True(resumed.Code == 130, resumed.Error);
        Assert.Contains("Resuming apt after step", resumed.Out);
        Assert.DoesNotContain(Directory.GetFiles(folder.Path), f => f.EndsWith(".tmp", StringComparison.Ordinal));
    }

    /// <summary>A shell starts what runs in the background with interrupts ignored, and a process keeps that: then a hang-up or a
    /// request to end shows the same.</summary>
    [Theory]
    [InlineData("INT", 130)]
    [InlineData("HUP", 129)]
    [InlineData("TERM", 143)]
    public async Task A_signal_saves_the_state_and_ends_with_its_code(string signal, int code)
    {
        if (OperatingSystem.IsWindows() || IsIgnored(code - 128)) return;
        // Stopped in the middle of a step, so that what is saved is the state after the step before.
        using Process training = Tool.Start([.. Golden.Train(folder.Path, 100_000), "--threads", "1", "--log-every", "1"]);
        await WaitFor(() => new FileInfo(folder.File("apt.history.jsonl")) is { Exists: true, Length: > 0 }, training);
        using (Process kill = Process.Start("kill", [$"-{signal}", $"{training.Id}"])) await kill.WaitForExitAsync();
        string output = await training.StandardOutput.ReadToEndAsync();
        await training.WaitForExitAsync();
        Assert.Equal(code, training.ExitCode);
        Assert.Contains("resume with: espalier train", output);
        Assert.Contains("stopping; what is done is saved first", await training.StandardError.ReadToEndAsync());
        Assert.True(File.Exists(folder.File("apt.state")));
    }

    /// <summary>What has nothing to save ends within a moment, however long the computation that it is in.</summary>
    [Fact]
    public async Task A_signal_ends_what_computes_for_long()
    {
        if (OperatingSystem.IsWindows() || IsIgnored(15)) return;
        using Process profile = Tool.Start("profile", "--model-type", "vgg19", "--batch-size", "64");
        await WaitFor(() => profile.TotalProcessorTime > TimeSpan.FromSeconds(1.5), profile);
        using (Process kill = Process.Start("kill", ["-TERM", $"{profile.Id}"])) await kill.WaitForExitAsync();
        Assert.EndsWith("interrupted", (await profile.StandardError.ReadToEndAsync()).TrimEnd());
        await profile.WaitForExitAsync();
        Assert.Equal(143, profile.ExitCode);
    }

    private static bool IsIgnored(int signal)
    {
        string line = File.ReadLines("/proc/self/status").First(l => l.StartsWith("SigIgn:", StringComparison.Ordinal));
        return (Convert.ToUInt64(line["SigIgn:".Length..].Trim(), 16) >> (signal - 1) & 1) != 0;
    }

    private static async Task WaitFor(Func<bool> condition, Process process)
    {
        for (int i = 0; i < 3000 && !condition(); i++)
        {
            Assert.False(process.HasExited, "the process ended by itself");
            await Task.Delay(20);
        }
        Assert.True(condition(), "nothing happened for a minute");
    }

    /// <summary>Cancels at the first line about a step that was done.</summary>
    private sealed class StopAfter(string text, CancellationTokenSource cancel) : StringWriter
    {
        public override void WriteLine(string? value)
        {
            base.WriteLine(value);
            if (value?.StartsWith("apt: " + text, StringComparison.Ordinal) == true) cancel.Cancel();
        }
    }
}
