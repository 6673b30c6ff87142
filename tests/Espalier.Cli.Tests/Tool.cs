using System.Diagnostics;

// The number of threads is one for the whole process, and decides the last bits of the results.
[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace Espalier.Cli.Tests;

/// <summary>What a call of the command gave.</summary>
internal sealed record Outcome(int Code, string Out, string Error)
{
    public Outcome MustSucceed()
    {
        Assert.True(Code == 0, $"exit code {Code}: {Error}{Out}");
        Assert.Equal("", Error);
        return this;
    }

    /// <summary>One line on standard error, as the user is to see it.</summary>
    public string MustFail(int code)
    {
        string line = Assert.Single(Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.StartsWith("espalier: ", line);
        Assert.DoesNotContain("   at ", line);
        Assert.True(Code == code, $"exit code {Code}, not {code}: {line}");
        return line;
    }
}

/// <summary>Calls `espalier`, in this process or in one of its own.</summary>
internal static class Tool
{
    public static Outcome Run(params string[] args) => Run(new StringWriter(), CancellationToken.None, args);

    public static Outcome Run(TextWriter output, CancellationToken cancel, params string[] args)
    {
        var error = new StringWriter();
        var terminal = new Terminal(TextWriter.Synchronized(output), error, Interactive: false, Width: 120);
        int code = CommandLine.Run(args, new CommandContext(terminal, cancel) { Burst = TimeSpan.FromMilliseconds(1) });
        return new Outcome(code, output.ToString()!, error.ToString());
    }

    public static Process Start(params string[] args) => StartIn("", args);

    /// <param name="folder">Where it works.</param>
    public static Process StartIn(string folder, params string[] args)
    {
        var start =
            new ProcessStartInfo(Environment.ProcessPath is { } host && Path.GetFileName(host) is "dotnet" ? host : "dotnet")
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = folder,
        };
        start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "espalier.dll"));
        foreach (string arg in args) start.ArgumentList.Add(arg);
        return Process.Start(start)!;
    }
}

/// <summary>A folder that is gone after the test.</summary>
internal sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("espalier-test-").FullName;

    public string File(string name) => System.IO.Path.Combine(Path, name);

    public void Dispose() => Directory.Delete(Path, recursive: true);
}

/// <summary>Cancels when a text is written.</summary>
internal sealed class CancellingWriter(string text, CancellationTokenSource cancel) : StringWriter
{
    public override void WriteLine(string? value)
    {
        base.WriteLine(value);
        if (value?.Contains(text, StringComparison.Ordinal) == true) cancel.Cancel();
    }
}
