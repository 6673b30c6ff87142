using System.Reflection;
using System.Runtime.CompilerServices;
using Espalier.Tensors;

namespace Espalier.Tests.Project;

/// <summary>The public API is in files that a change has to change with it, so that a review sees what others will notice.
/// </summary>
public sealed class PublicApiTests
{
    public static TheoryData<string> Assemblies => ["Espalier.Tensors", "Espalier"];

    [Theory, MemberData(nameof(Assemblies))]
    public void WhatOthersSeeIsWhatTheFileSays(string package)
    {
        Assembly assembly = (package == "Espalier" ? typeof(Model) : typeof(Tensor)).Assembly;
        string[] now = [.. PublicApi.Lines(assembly)];
        string path = Path.Combine(Path.GetDirectoryName(ThisFile())!, $"PublicApi.{package}.txt");
        if (Environment.GetEnvironmentVariable("ESPALIER_WRITE_API") == "1")
            File.WriteAllText(path, string.Join('\n', now) + "\n");
        string[] before = File.ReadAllLines(path);
        string[] changes = [.. now.Except(before).Select(l => "+ " + l), .. before.Except(now).Select(l => "- " + l)];
        Assert.True(now.SequenceEqual(before), $"the public API of {package} changed; if it should, "
            + "ESPALIER_WRITE_API=1 dotnet test tests/Espalier.Tests --filter PublicApi writes the file\n" + string.Join('\n', changes));
    }

    [Fact]
    public void MembersOfEveryKindAreSeen()
    {
        string[] lines = [.. PublicApi.Lines(typeof(Tensor).Assembly)];
        Assert.Contains("struct Espalier.Tensors.Shape", string.Join('\n', lines));
        Assert.Contains(lines, l => l.StartsWith("  new(", StringComparison.Ordinal));
        Assert.Contains(lines, l => l.Contains("static ", StringComparison.Ordinal) && l.Contains("?", StringComparison.Ordinal));
        Assert.DoesNotContain(lines, l => l.Contains('`') || l.Contains("<Clone>", StringComparison.Ordinal));
    }

    private static string ThisFile([CallerFilePath] string path = "") => path;
}
