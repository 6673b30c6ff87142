using System.Diagnostics;

namespace Espalier.Peers;

/// <summary>Of what state of the code the figures are.</summary>
internal static class Revision
{
    /// <summary>The commit, with a plus where files were changed since; empty outside of a repository.</summary>
    public static string Current()
    {
        string commit = Git("rev-parse", "--short=10", "HEAD");
        return commit.Length > 0 && Git("status", "--porcelain", "--untracked-files=no").Length > 0 ? commit + "+" : commit;
    }

    private static string Git(params string[] arguments)
    {
        try
        {
            var info = new ProcessStartInfo("git", arguments) { RedirectStandardOutput = true, RedirectStandardError = true };
            using Process git = Process.Start(info)!;
            string text = git.StandardOutput.ReadToEnd().Trim();
            git.WaitForExit();
            return git.ExitCode == 0 ? text : "";
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return "";
        }
    }
}
