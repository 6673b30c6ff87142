using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.Reflection;

namespace Espalier.Cli;

/// <summary>A verb with lines that a user can copy, shown at the end of its help.</summary>
internal sealed class Verb(string name, string description, params string[] examples) : Command(name, description)
{
    public IReadOnlyList<string> Examples => examples;
}

/// <summary>The usual help, and the verb's examples after it.</summary>
internal sealed class HelpWithExample(HelpAction help) : SynchronousCommandLineAction
{
    public override bool ClearsParseErrors => true;

    public override int Invoke(ParseResult parse)
    {
        int code = help.Invoke(parse);
        IReadOnlyList<string> examples = parse.CommandResult.Command switch
        {
            Verb verb => verb.Examples,
            RootCommand => ["espalier demo", "espalier train --data fashion-mnist --model-type vit-small-28 --num-steps 2000"],
            _ => [],
        };
        if (examples.Count == 0) return code;
        TextWriter output = parse.InvocationConfiguration.Output;
        output.WriteLine(examples.Count == 1 ? "Example:" : "Examples:");
        foreach (string example in examples) output.WriteLine($"  {example}");
        output.WriteLine();
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
