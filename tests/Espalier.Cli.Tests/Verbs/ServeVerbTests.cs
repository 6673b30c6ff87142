using System.Diagnostics;
using System.Net.Http.Headers;
using System.Runtime.InteropServices;
using System.Text.Json;
using Espalier.Cli.Running;

namespace Espalier.Cli.Tests.Verbs;

public sealed class ServeVerbTests : IDisposable
{
    private static readonly string Agents = Path.Combine(DocumentationTests.Root, "models", "apt-fashion-mnist.safetensors");

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>The whole way: tool, service, answer, signal, end.</summary>
    [Fact]
    public async Task ItServesUntilASignal()
    {
        if (OperatingSystem.IsWindows()) return;
        using Process tool = Tool.Start("serve", "--model", Agents, "--port", "0", "--threads", "1");
        string address = await Address(tool);
        using var client = new HttpClient();
        var picture = new ByteArrayContent(File.ReadAllBytes(Path.Combine(DocumentationTests.Root, "examples", "images", "bag.png")));
        picture.Headers.ContentType = new MediaTypeHeaderValue("image/png");
        using HttpResponseMessage response = await client.PostAsync(address + "/v1/predict?top=1", picture);
        JsonElement answer = JsonDocument.Parse(await response.Content.ReadAsStringAsync()).RootElement;
        Assert.Equal("bag", answer.GetProperty("results")[0].GetProperty("classes")[0].GetProperty("name").GetString(), ignoreCase: true);
        using (Process kill = Process.Start("kill", ["-TERM", $"{tool.Id}"])) await kill.WaitForExitAsync();
        Assert.Equal("stopping; what was begun is answered first (once more ends at once)", (await tool.StandardError.ReadToEndAsync()).Trim());
        await tool.WaitForExitAsync();
        Assert.Equal(0, tool.ExitCode);
        await Assert.ThrowsAsync<HttpRequestException>(() => client.GetAsync(address + "/health"));
    }

    /// <summary>The service must not outlive a tool that could not say goodbye.</summary>
    [Fact]
    public async Task AKilledToolTakesItsServiceWithIt()
    {
        using Process tool = Tool.Start("serve", "--model", Agents, "--port", "0", "--threads", "1");
        string address = await Address(tool);
        tool.Kill();
        await tool.WaitForExitAsync();
        using var client = new HttpClient();
        for (int i = 0; i < 500; i++)
        {
            try
            {
                await client.GetAsync(address + "/health");
            }
            catch (HttpRequestException)
            {
                return;
            }
            await Task.Delay(20);
        }
        Assert.Fail("the service still answers");
    }

    [Fact]
    public void WhatIsWrongIsOneLine()
    {
        Assert.Contains("none.safetensors", Tool.Run("serve", "--model", "none.safetensors", "--port", "0").MustFail(2));
        Assert.Contains("--host here", Tool.Run("serve", "--model", Agents, "--port", "0", "--host", "here").MustFail(2));
        Assert.Contains("--port must be a whole number from 0 to 65535", Tool.Run("serve", "--model", Agents, "--port", "65536").MustFail(2));
    }

    /// <summary>The tool wants .NET alone, so that every other verb runs where ASP.NET is not.</summary>
    [Fact]
    public void OnlyTheServiceWantsAspNet()
    {
        Assert.Equal(["Microsoft.NETCore.App"], Frameworks("espalier"));
        Assert.Equal(["Microsoft.NETCore.App", "Microsoft.AspNetCore.App"], Frameworks("espalier-server"));
    }

    [Fact]
    public async Task WithoutAspNetEveryOtherVerbRuns()
    {
        if (OperatingSystem.IsWindows()) return;
        string root = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", ".."));
        Assert.EndsWith("dotnet", ServerProcess.Host(root));
        // An installation of .NET without ASP.NET. It is copied: where links lead to would be taken for where it is.
        string version = Path.GetFileName(RuntimeEnvironment.GetRuntimeDirectory().TrimEnd('/'));
        string runtime = Path.Combine("shared", "Microsoft.NETCore.App", version);
        Directory.CreateDirectory(folder.File(runtime));
        File.Copy(Path.Combine(root, "dotnet"), folder.File("dotnet"));
        Directory.CreateSymbolicLink(folder.File("host"), Path.Combine(root, "host"));
        foreach (string file in Directory.GetFiles(Path.Combine(root, runtime)))
            File.Copy(file, Path.Combine(folder.File(runtime), Path.GetFileName(file)));
        (int code, string text) = await Bare("models");
        Assert.True(code == 0, text);
        (code, text) = await Bare("serve", "--model", Agents, "--port", "0");
        Assert.Equal(2, code);
        Assert.StartsWith("espalier: serve wants ASP.NET Core's runtime 10.0, which is not in ", text);
        Assert.Single(text.Split('\n', StringSplitOptions.RemoveEmptyEntries));

        async Task<(int, string)> Bare(params string[] args)
        {
            var start = new ProcessStartInfo(folder.File("dotnet"), [Path.Combine(AppContext.BaseDirectory, "espalier.dll"), .. args])
            {
                RedirectStandardOutput = true, RedirectStandardError = true, Environment = { ["DOTNET_ROOT"] = folder.Path },
            };
            using Process process = Process.Start(start)!;
            using var time = new CancellationTokenSource(TimeSpan.FromMinutes(1));
            try
            {
                string error = await process.StandardError.ReadToEndAsync(time.Token);
                await process.WaitForExitAsync(time.Token);
                return (process.ExitCode, error);
            }
            finally
            {
                // One that serves after all would not end by itself.
                if (!process.HasExited) process.Kill(entireProcessTree: true);
            }
        }
    }

    private static string[] Frameworks(string program)
    {
        using JsonDocument config = JsonDocument.Parse(File.ReadAllText(Path.Combine(AppContext.BaseDirectory, program + ".runtimeconfig.json")));
        JsonElement options = config.RootElement.GetProperty("runtimeOptions");
        IEnumerable<JsonElement> all = options.TryGetProperty("frameworks", out JsonElement several) ? several.EnumerateArray()
            : [options.GetProperty("framework")];
        return [.. all.Select(f => f.GetProperty("name").GetString()!)];
    }

    private static async Task<string> Address(Process tool)
    {
        while (await tool.StandardOutput.ReadLineAsync() is { } line)
            if (line.StartsWith("listening   ", StringComparison.Ordinal)) return line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1];
        throw new InvalidOperationException("the service did not start: " + await tool.StandardError.ReadToEndAsync());
    }
}
