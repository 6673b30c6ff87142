using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.Json;
using Espalier.Server;

namespace Espalier.Cli.Running;

/// <summary>
/// The service is a program of its own, espalier-server beside this one: only it wants ASP.NET Core's runtime. It gets Ctrl-C
/// from the terminal as we do; for every other end of ours, its input ends and so does it.
/// </summary>
internal static class ServerProcess
{
    private const string Name = "espalier-server", Runtime = "Microsoft.AspNetCore.App";

    /// <returns>The program's exit code.</returns>
    /// <exception cref="EspalierException">The program or its runtime is not here.</exception>
    public static int Run(ServerSettings settings, CommandContext context)
    {
        string dotnet = Host(Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", "..")));
        using IDisposable? hold = context.Interrupt?.Hold("what was begun is answered first");
        using Process server = Start(dotnet, settings, context.Terminal);
        using CancellationTokenRegistration stop = context.Cancel.Register(() => server.StandardInput.Close());
        // A second Ctrl-C ends us at once, and the service must not keep the port until its last answer.
        EventHandler kill = (_, _) => server.Kill();
        AppDomain.CurrentDomain.ProcessExit += kill;
        server.WaitForExit();
        AppDomain.CurrentDomain.ProcessExit -= kill;
        return server.ExitCode;
    }

    /// <param name="root">Where .NET is installed.</param>
    internal static string Host(string root)
    {
        string dotnet = Path.Combine(root, OperatingSystem.IsWindows() ? "dotnet.exe" : "dotnet");
        if (!File.Exists(Path.Combine(AppContext.BaseDirectory, Name + ".dll")) || !File.Exists(dotnet))
            throw new EspalierException($"serve wants {Name}.dll beside the program and an installed .NET; this is a build without");
        string versions = Path.Combine(root, "shared", Runtime);
        string major = $"{Environment.Version.Major}.";
        if (Directory.Exists(versions) && Directory.EnumerateDirectories(versions, major + "*").Any()) return dotnet;
        throw new EspalierException($"serve wants ASP.NET Core's runtime {major}0, which is not in {root}; install it "
            + "(aspnetcore-runtime-10.0, or https://dotnet.microsoft.com/download); all other verbs do without");
    }

    private static Process Start(string dotnet, ServerSettings settings, Terminal terminal)
    {
        string folder = AppContext.BaseDirectory;
        var start = new ProcessStartInfo(dotnet)
        {
            RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true,
            // The tool's own list of libraries says where in this folder they are.
            ArgumentList =
            {
                "exec", "--runtimeconfig", Path.Combine(folder, Name + ".runtimeconfig.json"),
                "--depsfile", Path.Combine(folder, "espalier.deps.json"), Path.Combine(folder, Name + ".dll"),
                JsonSerializer.Serialize(settings, SettingsJson.Default.ServerSettings),
            },
        };
        var server = new Process { StartInfo = start };
        server.OutputDataReceived += (_, line) => Show(line.Data, terminal.Line);
        server.ErrorDataReceived += (_, line) => Show(line.Data, terminal.ErrorLine);
        server.Start();
        server.BeginOutputReadLine();
        server.BeginErrorReadLine();
        return server;

        static void Show(string? line, Action<string> show)
        {
            if (line is not null) show(line);
        }
    }
}
