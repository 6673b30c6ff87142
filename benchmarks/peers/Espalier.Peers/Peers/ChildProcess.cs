using System.ComponentModel;
using System.Diagnostics;

namespace Espalier.Peers;

/// <summary>How to start a program so that nothing in this process's environment makes it slower or faster than it is.</summary>
/// <param name="Environment">Variables to set on top; all that tune a numeric library or .NET are taken away first.</param>
internal sealed record ChildProcess(string Program, IReadOnlyList<string> Arguments, IReadOnlyList<(string, string)> Environment)
{
    private static readonly string[] Tuning =
    [
        "OPENBLAS_", "OMP_", "MKL_", "GOMP_", "KMP_", "GOTO_", "BLIS_", "ORT_",
        "ESPALIER_", "DOTNET_Enable", "DOTNET_Tiered", "DOTNET_TC_",
    ];

    public ChildProcess(string program, params string[] arguments) : this(program, arguments, []) { }

    /// <exception cref="EspalierException">There is no such program.</exception>
    public Process Start(bool pipeInput)
    {
        var info = new ProcessStartInfo(Program, Arguments)
        {
            UseShellExecute = false,
            RedirectStandardInput = pipeInput,
            RedirectStandardOutput = true,
        };
        foreach (string name in info.Environment.Keys.ToArray())
            if (Tuning.Any(t => name.StartsWith(t, StringComparison.Ordinal))) info.Environment.Remove(name);
        foreach (var (name, value) in Environment) info.Environment[name] = value;
        try
        {
            return Process.Start(info)!;
        }
        catch (Win32Exception e)
        {
            throw new EspalierException($"{Program} does not start: {e.Message}", e);
        }
    }

    /// <summary>Runs it to its end: the last line that it printed, and the seconds from start to that line.</summary>
    /// <exception cref="EspalierException">It fails.</exception>
    public (string Line, double Seconds) RunToEnd()
    {
        long start = Stopwatch.GetTimestamp();
        using Process process = Start(pipeInput: false);
        string? line = process.StandardOutput.ReadLine();
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        process.WaitForExit();
        if (process.ExitCode != 0 || line is null)
            throw new EspalierException($"{Path.GetFileName(Program)} {Arguments[0]} ended with code {process.ExitCode}");
        return (line, seconds);
    }
}
