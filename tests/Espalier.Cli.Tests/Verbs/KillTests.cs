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
        using Process training = Tool.Start([.. Golden.Train(folder.Path, 100_000), "--threads", "1"]);
        await WaitFor(() => Directory.Exists(folder.File("events")), training);
        await Task.Delay(300);
        using (Process kill = Process.Start("kill", [$"-{signal}", $"{training.Id}"])) await kill.WaitForExitAsync();
        string output = await training.StandardOutput.ReadToEndAsync();
        await training.WaitForExitAsync();
        Assert.Equal(code, training.ExitCode);
        Assert.Contains("resume with: espalier train", output);
        Assert.True(File.Exists(folder.File("apt.state")));
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
