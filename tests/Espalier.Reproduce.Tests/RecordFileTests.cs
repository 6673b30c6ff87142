using Espalier.Cli;

namespace Espalier.Reproduce.Tests;

/// <summary>What a killed process, a full disk or an editor leaves of what is kept of runs: one clear line, whatever it is.</summary>
public sealed class RecordFileTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Theory]
    [InlineData("")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("""{"Accuracy":0.5,"Parameters":1,"MultiplyAdds":1,"St""")]
    [InlineData("""{"Accuracy":0.5,"Parameters":1,"MultiplyAdds":1,"Steps":1,"Shape":null}""")]
    [InlineData("""{"Accuracy":0.5,"Parameters":1,"MultiplyAdds":1,"Steps":1,"Shape":"\ud800"}""")]
    [InlineData("""{"Accuracy":7,"Parameters":1,"MultiplyAdds":1,"Steps":1,"Shape":"a"}""")]
    [InlineData("""{"Accuracy":0.5,"Parameters":1,"MultiplyAdds":1,"Steps":-1,"Shape":"a"}""")]
    [InlineData("""{"Accuracy":0.5,"Parameters":1e99,"MultiplyAdds":1,"Steps":1,"Shape":"a"}""")]
    [InlineData("\0\0\0\0")]
    public void A_damaged_record_is_one_line(string text) => Refuses(() => RunRecord.Read(Written("a.json", text)), "a.json");

    [Fact]
    public void A_record_reads_back_with_what_older_ones_lack()
    {
        string path = Path.Combine(folder, "a.json");
        Assert.Null(RunRecord.Read(path));
        var record = new RunRecord(0.5, 10, 20, 30, "abc", 1.5);
        record.Write(path);
        Assert.Equal(record, RunRecord.Read(path));
        string old = Written("old.json", """{"Accuracy":0.5,"Parameters":10,"MultiplyAdds":20,"Steps":30,"Shape":"abc"}""");
        Assert.Equal(record with { Seconds = null }, RunRecord.Read(old));
    }

    [Theory]
    [InlineData("")]
    [InlineData("ten")]
    [InlineData("-1")]
    [InlineData("99999999999999999999")]
    public void A_damaged_number_of_steps_is_one_line(string text)
    {
        Written("steps.txt", text);
        var runs = new NetworkRuns(Context(), folder, Data.Datasets.OpenSample(), 28, 10);
        Refuses(runs.RequireSteps, "steps.txt");
    }

    [Theory]
    [InlineData("1,2\n3")]
    [InlineData("1,2\n3,4")]
    [InlineData("1,2\n\n")]
    [InlineData("1,2,3\n")]
    [InlineData("1,NaN\n")]
    public void Damaged_rows_are_one_line(string text) => Refuses(() => RecordFile.Rows(Written("a.csv", text), 2), "a.csv");

    [Fact]
    public void Rows_are_numbers()
    {
        Assert.Empty(RecordFile.Rows(Path.Combine(folder, "none.csv"), 2));
        Assert.Equal([[1, 2e-3], [3, 4]], RecordFile.Rows(Written("a.csv", "1,2e-3\n3,4\n"), 2));
    }

    [Theory]
    [InlineData("[{}]")]
    [InlineData("[null]")]
    [InlineData("""[{"Threads":1}]""")]
    [InlineData("{")]
    public void A_damaged_origin_is_one_line(string text)
    {
        Written("a.made.json", text);
        Refuses(() => RunOrigin.Sentence(folder, ["a"]), "a.made.json");
    }

    [Fact]
    public void A_record_that_does_not_end_is_one_line()
    {
        if (!OperatingSystem.IsLinux()) return;
        string path = Path.Combine(folder, "a.json");
        File.CreateSymbolicLink(path, "/dev/zero");
        Assert.Contains("is longer than", Assert.Throws<EspalierException>(() => RunRecord.Read(path)).Message);
    }

    private static CommandContext Context() => new(new Terminal(TextWriter.Null, TextWriter.Null, false, 120), default);

    private string Written(string name, string text)
    {
        string path = Path.Combine(folder, name);
        File.WriteAllText(path, text);
        return path;
    }

    private static void Refuses(Action read, string name)
    {
        string said = Assert.Throws<EspalierException>(read).Message;
        Assert.Contains($"{name}: is damaged (", said);
        Assert.DoesNotContain('\n', said);
    }
}
