using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.Reflection;

namespace Espalier.Cli;

/// <summary>A verb with lines that a user can copy, shown at the end of its help.</summary>
internal sealed class Verb(string name, string description, params string[] examples) : Command(name, description)
{
    public IReadOnlyList<string> Examples => examples;

    /// <summary>Whether several processes that mpirun has started may do it together.</summary>
    public bool RunsTogether { get; set; }
}

/// <summary>The usual help, and the verb's examples after it.</summary>
/// <param name="general">Examples at the end of the general help.</param>
internal sealed class HelpWithExample(HelpAction help, IReadOnlyList<string> general) : SynchronousCommandLineAction
{
    public override bool ClearsParseErrors => true;

    public override int Invoke(ParseResult parse)
    {
        int code = Shadowing(parse, () => help.Invoke(parse));
        IReadOnlyList<string> examples = parse.CommandResult.Command switch
        {
            Verb verb => verb.Examples,
            RootCommand => general,
            _ => [],
        };
        if (examples.Count == 0) return code;
        TextWriter output = parse.InvocationConfiguration.Output;
        output.WriteLine(examples.Count == 1 ? "Example:" : "Examples:");
        foreach (string example in examples) output.WriteLine($"  {example}");
        output.WriteLine();
        return code;
    }

    /// <summary>A verb's own option takes the place of the general one of the same name; help must not show both.</summary>
    private static int Shadowing(ParseResult parse, Func<int> show)
    {
        HashSet<string> own = [.. parse.CommandResult.Command.Options.Select(o => o.Name)];
        Option[] shadowed = parse.CommandResult.Command is RootCommand ? []
            : [.. parse.RootCommandResult.Command.Options.Where(o => o.Recursive && own.Contains(o.Name))];
        foreach (Option option in shadowed) option.Hidden = true;
        int code = show();
        foreach (Option option in shadowed) option.Hidden = false;
        return code;
    }
}

internal sealed class VersionAction : SynchronousCommandLineAction
{
    public static string Text { get; } = "espalier " + typeof(VersionAction).Assembly
        .GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion.Split('+')[0];

    public override bool ClearsParseErrors => true;

    public override int Invoke(ParseResult parse)
    {
        parse.InvocationConfiguration.Output.WriteLine(Text);
        return ExitCodes.Done;
    }
}
