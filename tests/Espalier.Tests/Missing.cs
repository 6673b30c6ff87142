using Xunit.Abstractions;

namespace Espalier.Tests;

/// <summary>Programs and files of the machine that a test needs and does not find.</summary>
internal static class Missing
{
    /// <summary>
    /// Says on the test's output that it checks nothing, and why. Where ESPALIER_EXPECT_ALL is 1, which scripts/test.sh sets on a
    /// machine that has everything, the test fails instead.
    /// </summary>
    /// <param name="package">Debian's, that has it.</param>
    /// <param name="expected">Whether something else says that it must be there.</param>
    public static void Say(string what, string package, ITestOutputHelper output, bool expected = false)
    {
        string line = $"no {what} (Debian: apt-get install {package})";
        if (expected || Environment.GetEnvironmentVariable("ESPALIER_EXPECT_ALL") == "1") Assert.Fail(line);
        output.WriteLine("not run: " + line);
    }
}
