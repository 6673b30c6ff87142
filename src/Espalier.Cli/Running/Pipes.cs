using System.CommandLine;
using System.CommandLine.Parsing;

namespace Espalier.Cli.Running;

/// <summary>
/// `-` in the place of a file: standard input or output. What is read is copied to a file first, since models are read in any
/// order; what is written goes to the pipe once it is there whole, and only where the verb succeeded.
/// </summary>
internal sealed class Pipes : IDisposable
{
    public const string Mark = "-";

    /// <summary>Of a model that is read: more than the largest networks have, and an end for what has none.</summary>
    public const long MostBytes = 8L << 30;

    /// <summary>What can go to standard output, and the ending that tells the verb which form it has.</summary>
    private static readonly Dictionary<(string Verb, string Option), string> Outputs = new()
    {
        [("infer", "--output")] = ".jsonl", [("infer", "--confusion")] = ".csv", [("embed", "--output")] = ".jsonl",
        [("export", "--onnx")] = ".onnx", [("quantize", "--output")] = ".safetensors", [("report", "--output")] = ".html",
        [("bench", "--output")] = "", [("probe", "--output")] = ".safetensors", [("classify", "--save")] = ".safetensors",
    };

    /// <summary>These write down what they were started with, beside what they make, so that both must be files.</summary>
    private static readonly string[] WithRecipes = ["train", "compress"];

    private readonly string folder = Directory.CreateTempSubdirectory("espalier-pipe-").FullName;
    private readonly string? output;

    private Pipes(IReadOnlyList<string> arguments, List<(Option Option, string Ending)> writes, List<Option> reads,
        CommandContext context)
    {
        AppDomain.CurrentDomain.ProcessExit += Delete;
        try
        {
            string[] given = [.. arguments];
            if (writes is [(var to, var ending), ..])
                Replace(given, to, output = Path.Combine(folder, "standard-output" + ending));
            if (reads.Count > 0) Replace(given, reads[0], Read(context));
            Arguments = given;
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The same with files in the place of the marks.</summary>
    public IReadOnlyList<string> Arguments { get; }

    /// <summary>Whether standard output is the result's alone.</summary>
    public bool Writes => output is not null;

    /// <summary>Null where there is no mark.</summary>
    /// <exception cref="EspalierException">The verb cannot read or write a pipe there, or two want the same one.</exception>
    public static Pipes? Of(ParseResult parse, IReadOnlyList<string> arguments, CommandContext context)
    {
        Command verb = parse.CommandResult.Command;
        var writes = new List<(Option Option, string Ending)>();
        var reads = new List<Option>();
        foreach (OptionResult given in parse.CommandResult.Children.OfType<OptionResult>())
        {
            string? kind = given.Option.HelpName;
            if (given.Tokens is not [{ Value: Mark }] || kind is null || !(IsFile(kind) || kind == "DIR")) continue;
            string name = given.Option.Name;
            if (kind == "DIR") throw new EspalierException($"{name} {Mark}: is a folder, and no pipe takes its place; name one");
            if (WithRecipes.Contains(verb.Name))
                throw new EspalierException($"{name} {Mark}: '{verb.Name}' writes a recipe that names its files, so that it can "
                    + "be run again; give a file");
            if (Outputs.TryGetValue((verb.Name, name), out string? ending)) writes.Add((given.Option, ending));
            else reads.Add(given.Option);
        }
        if (reads.Count > 1) throw Twice(reads[0], reads[1], "input is read");
        if (writes.Count > 1) throw Twice(writes[0].Option, writes[1].Option, "output is written");
        return reads.Count + writes.Count == 0 ? null : new Pipes(arguments, writes, reads, context);
    }

    /// <summary>Hands over what the verb has written.</summary>
    public void Flush(CommandContext context)
    {
        if (output is null || !File.Exists(output)) return;
        using FileStream file = File.OpenRead(output);
        using Stream pipe = context.StandardOutput();
        file.CopyTo(pipe);
        pipe.Flush();
    }

    public void Dispose()
    {
        AppDomain.CurrentDomain.ProcessExit -= Delete;
        Delete(null, EventArgs.Empty);
    }

    /// <summary>Copies a stream to a file, but not without end.</summary>
    /// <exception cref="EspalierException">It is longer.</exception>
    internal static void Copy(Stream from, string path, long most, CancellationToken cancel)
    {
        using FileStream to = File.Create(path);
        byte[] part = new byte[1 << 16];
        for (int count; (count = from.Read(part)) > 0;)
        {
            cancel.ThrowIfCancellationRequested();
            if (to.Length + count > most)
                throw new EspalierException($"standard input: is longer than {most} bytes, and no model is; give a file");
            to.Write(part, 0, count);
        }
    }

    private string Read(CommandContext context)
    {
        string path = Path.Combine(folder, "standard-input");
        using (Stream pipe = context.StandardInput()) Copy(pipe, path, MostBytes, context.Cancel);
        string named = path + (IsOnnx(path) ? ".onnx" : "");
        if (named != path) File.Move(path, named);
        return named;
    }

    /// <summary>ONNX files, which are known by their ending elsewhere, begin with the number of their version; headers of
    /// safetensors of that length have a brace after it.</summary>
    private static bool IsOnnx(string path)
    {
        Span<byte> start = stackalloc byte[9];
        using FileStream file = File.OpenRead(path);
        return file.ReadAtLeast(start, start.Length, throwOnEndOfStream: false) == start.Length && start[0] == 0x08
            && start[8] != '{';
    }

    private static bool IsFile(string kind) =>
        kind.Split('|').Any(k => k == "CHECKPOINT" || k.StartsWith("FILE", StringComparison.Ordinal));

    private static void Replace(string[] arguments, Option option, string path)
    {
        foreach (string name in option.Aliases.Append(option.Name))
            for (int i = 0; i < arguments.Length; i++)
            {
                if (arguments[i] == $"{name}={Mark}") arguments[i] = $"{name}={path}";
                else if (arguments[i] == Mark && i > 0 && arguments[i - 1] == name) arguments[i] = path;
            }
    }

    private static EspalierException Twice(Option first, Option second, string what) =>
        new($"{first.Name} {Mark} and {second.Name} {Mark}: standard {what} once; give a file for one of them");

    private void Delete(object? sender, EventArgs e)
    {
        try
        {
            Directory.Delete(folder, recursive: true);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Gone already, or the system's to clean.
        }
    }
}
