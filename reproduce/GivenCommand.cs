using Espalier.Cli;

namespace Espalier.Reproduce;

/// <summary>The command that a section came from, as it was given. What names a place on one machine is left out: no number depends on
/// where files lie.</summary>
internal static class GivenCommand
{
    /// <param name="verb">Where nothing was given on a command line.</param>
    public static string Of(CommandContext context, string verb)
    {
        var said = new List<string> { Commands.Start };
        IReadOnlyList<string> arguments = context.Arguments.Count > 0 ? context.Arguments : [verb];
        foreach (string argument in arguments)
        {
            int value = argument.StartsWith("--", StringComparison.Ordinal) ? argument.IndexOf('=', StringComparison.Ordinal) + 1 : 0;
            string path = argument[value..];
            if (!Path.IsPathRooted(path)) said.Add(Quoted(argument));
            // Which network was begun with is a part of what ran.
            else if (argument == "--model=" + path || (value == 0 && said[^1] == "--model"))
                said.Add(Quoted(argument[..value] + Path.GetFileName(path)));
            else if (value == 0) said.RemoveAt(said.Count - 1);
        }
        return string.Join(' ', said);
    }

    private static string Quoted(string argument) =>
        argument.Length > 0 && argument.All(c => char.IsAsciiLetterOrDigit(c) || "-_=.,:/+".Contains(c)) ? argument
            : $"'{argument.Replace("'", @"'\''", StringComparison.Ordinal)}'";
}
