using System.Diagnostics;
using Espalier.Tests;
using Xunit.Abstractions;

namespace Espalier.Cli.Tests.Verbs;

/// <summary>`mpirun -n 2 espalier train`: real processes. Where Open MPI is not installed nothing is checked, unless
/// ESPALIER_EXPECT_MPI is set, or ESPALIER_EXPECT_ALL is 1.</summary>
public sealed class MpiTests(ITestOutputHelper said) : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public async Task Two_processes_train_what_one_does_with_two_micro_batches()
    {
        if (!Installed()) return;
        var (code, output, error) = await Start(Train("two", 6));
        Assert.True(code == 0, error);
        Assert.Contains("by 2 processes", output);
        Assert.Single(Lines(output), l => l.Contains("data        fashion-mnist", StringComparison.Ordinal));
        Outcome one = Tool.Run([.. Train("one", 6), "--gradient-accumulation-steps", "2"]);
        Assert.True(one.Code == 0, one.Error);
        AssertSame("one", "two", 2e-5f);
    }

    [Fact]
    public async Task Batch_norms_over_two_processes_are_those_of_one()
    {
        if (!Installed()) return;
        string[] network = ["--model-type", "resnet20", "--width", "0.25", "--img-size", "28", "--no-augment", "--sync-bn"];
        var (code, output, error) = await Start([.. Train("two", 3, network), "--checkpoint-activations"]);
        Assert.True(code == 0, error);
        Assert.Contains("by 2 processes, batch norms over the images of all", output);
        Assert.Contains("of the forward pass is computed twice", output);
        Outcome one = Tool.Run(Train("one", 3, network));
        Assert.True(one.Code == 0, one.Error);
        AssertSame("one", "two", 1e-4f);
    }

    /// <summary>What is resumed ends like what was not stopped.</summary>
    [Fact]
    public async Task Two_processes_resume()
    {
        if (!Installed()) return;
        Assert.Equal(0, (await Start(Train("whole", 6))).Code);
        using (Process started = Mpi([.. Train("parts", 6), "--checkpoint-every", "1"]))
        {
            Task<string> output = started.StandardOutput.ReadToEndAsync();
            while (!File.Exists(folder.File("parts.state")) && !started.HasExited) await Task.Delay(5);
            // A rank dies: the job ends, and what was saved is whole.
            foreach (Process rank in Ranks("parts").Take(1)) rank.Kill();
            await started.WaitForExitAsync();
            Assert.True(started.ExitCode != 0, await output);
        }
        Model.Open(folder.File("parts.safetensors")).Dispose();
        var resumed = await Start([.. Train("parts", 6), "--checkpoint-every", "1", "--resume"]);
        Assert.True(resumed.Code == 0, resumed.Error);
        AssertSame("whole", "parts", 0);
    }

    [Fact]
    public async Task What_is_wrong_on_all_is_said_once()
    {
        if (!Installed()) return;
        string[] odd = [.. Train("odd", 2)];
        odd[Array.IndexOf(odd, "16")] = "15";
        foreach (var (arguments, words) in new[]
        {
            (odd, "--train-batch-size"), (["models"], "models works in one only"),
        })
        {
            var (code, _, error) = await Start(arguments);
            Assert.Equal(2, code);
            Assert.Contains(words, Assert.Single(Lines(error), l => l.StartsWith("espalier:", StringComparison.Ordinal)));
        }
    }

    private bool Installed()
    {
        if (File.Exists("/usr/bin/mpirun")) return true;
        Missing.Say("mpirun at /usr/bin/mpirun", "openmpi-bin", said,
            Environment.GetEnvironmentVariable("ESPALIER_EXPECT_MPI") is not null);
        return false;
    }

    private string[] Train(string name, int steps, string[]? network = null) =>
    [
        "train", "--method", "none", .. network ?? ["--model-type", "vit-tiny-28"],
        "--data", "fashion-mnist", "--data-dir", Golden.Folder, "--num-steps", $"{steps}", "--train-batch-size", "16",
        "--eval-every", "0", "--threads", "1", "--output-dir", folder.Path, "--name", name,
    ];

    private static async Task<(int Code, string Out, string Error)> Start(params string[] arguments)
    {
        using Process mpi = Mpi(arguments);
        Task<string> output = mpi.StandardOutput.ReadToEndAsync(), error = mpi.StandardError.ReadToEndAsync();
        await mpi.WaitForExitAsync();
        return (mpi.ExitCode, await output, await error);
    }

    private static Process Mpi(params string[] arguments)
    {
        var start = new ProcessStartInfo("/usr/bin/mpirun",
            ["--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", "2", "dotnet",
                Path.Combine(AppContext.BaseDirectory, "espalier.dll"), .. arguments])
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        };
        return Process.Start(start)!;
    }

    /// <summary>The processes that train under this name.</summary>
    private static IEnumerable<Process> Ranks(string name)
    {
        foreach (Process p in Process.GetProcessesByName("dotnet"))
        {
            string[] words = File.ReadAllText($"/proc/{p.Id}/cmdline").Split('\0');
            if (words.Contains(name) && words.Contains("train") && !words[0].EndsWith("mpirun", StringComparison.Ordinal)) yield return p;
        }
    }

    private void AssertSame(string a, string b, float tolerance)
    {
        using Model x = Model.Open(folder.File($"{a}.safetensors")), y = Model.Open(folder.File($"{b}.safetensors"));
        foreach (var (name, weight) in x.Graph.Weights)
        {
            float[] left = weight.Tensor.ToArray(), right = y.Graph.Weights[name].Tensor.ToArray();
            for (int i = 0; i < left.Length; i++) Assert.Equal(left[i], right[i], tolerance);
        }
    }

    private static string[] Lines(string text) => text.Split('\n', StringSplitOptions.RemoveEmptyEntries);
}
