using System.Text;
using System.Text.Json;
using Espalier.Cli.Running;

namespace Espalier.Cli.Tests.Verbs;

/// <summary>`-` in the place of a file: models from pipes, results into them and nothing else beside.</summary>
public sealed class PipeTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private static (Outcome Outcome, byte[] Piped) Run(byte[] input, params string[] args)
    {
        var (terminal, error, pipe) = (new StringWriter(), new StringWriter(), new MemoryStream());
        int code = CommandLine.Run(args, new CommandContext(new Terminal(terminal, error, Interactive: false, Width: 120), default)
        {
            StandardInput = () => new MemoryStream(input, writable: false), StandardOutput = () => pipe,
        });
        return (new Outcome(code, terminal.ToString(), error.ToString()), pipe.ToArray());
    }

    private static string[] Left() => Directory.GetDirectories(Path.GetTempPath(), "espalier-pipe-*");

    [Fact]
    public void A_model_comes_from_a_pipe_and_lines_go_into_one()
    {
        string file = SmallCnn.Write(folder.File("net.safetensors")), lines = folder.File("lines.jsonl");
        string[] before = Left(), rest = ["--data", "fashion-mnist-sample", "--limit", "5"];
        Tool.Run(["infer", "--model", file, "--output", lines, .. rest]).MustSucceed();
        foreach (string[] marks in new[] { (string[])["--model", "-", "--output", "-"], ["--model=-", "--output=-"] })
        {
            var (outcome, piped) = Run(File.ReadAllBytes(file), ["infer", .. marks, .. rest]);
            Assert.Equal((0, ""), (outcome.Code, outcome.Out));
            Assert.Contains("accuracy", outcome.Error);
            Assert.Equal(File.ReadAllText(lines), Encoding.UTF8.GetString(piped));
        }
        Assert.Equal(before, Left());
    }

    [Fact]
    public void Onnx_goes_into_a_pipe_and_is_known_again_from_one()
    {
        string file = SmallCnn.Write(folder.File("net.safetensors")), onnx = folder.File("net.onnx");
        Tool.Run("export", "--model", file, "--onnx", onnx).MustSucceed();
        var (outcome, piped) = Run([], "export", "--model", file, "--onnx", "-");
        Assert.Equal((0, ""), (outcome.Code, outcome.Out));
        Assert.Equal(File.ReadAllBytes(onnx), piped);
        var (profile, nothing) = Run(piped, "profile", "--model", "-");
        Assert.Contains("MACs", profile.MustSucceed().Out);
        Assert.Empty(nothing);
    }

    [Fact]
    public void What_fails_writes_nothing_into_the_pipe()
    {
        var (outcome, piped) = Run([1, 2, 3], "infer", "--model", "-", "--output", "-");
        Assert.Contains("not a checkpoint", outcome.MustFail(2));
        Assert.Empty(piped);
    }

    [Theory]
    [InlineData("'train' writes a recipe", "train", "--data", "fashion-mnist-sample", "--init", "-")]
    [InlineData("'compress' writes a recipe", "compress", "l1", "--model", "-", "--ratio", "0.5")]
    [InlineData("'compress' writes a recipe", "compress", "l1", "--model", "m.safetensors", "--output", "-")]
    [InlineData("is a folder, and no pipe takes its place", "predict", "boot.png", "--output-dir", "-")]
    [InlineData("--model - and --preprocess -: standard input is read once", "profile", "--model", "-", "--preprocess", "-")]
    [InlineData("standard output is written once", "infer", "--model", "m.safetensors", "--output", "-", "--confusion", "-")]
    public void What_a_verb_cannot_do_with_a_pipe_is_one_line(string reason, params string[] args)
    {
        var (outcome, piped) = Run([], args);
        Assert.Contains(reason, outcome.MustFail(2));
        Assert.Empty(piped);
    }

    [Fact]
    public void What_does_not_end_is_read_to_a_limit()
    {
        using var zeros = new EndlessStream();
        Assert.Contains("longer than 1000000 bytes", Assert.Throws<EspalierException>(() =>
            Pipes.Copy(zeros, folder.File("copy"), 1_000_000, CancellationToken.None)).Message);
        Assert.InRange(new FileInfo(folder.File("copy")).Length, 1, 1_000_000);
    }

    /// <summary>Through a real shell: the program's own standard streams.</summary>
    [Fact]
    public async Task A_pipeline_of_two_programs_works()
    {
        string file = SmallCnn.Write(folder.File("net.safetensors"));
        using var process = Tool.Start(["infer", "--model", "-", "--output", "-", "--limit", "3", .. SmallCnn.Data]);
        Task<string> lines = process.StandardOutput.ReadToEndAsync(), said = process.StandardError.ReadToEndAsync();
        await using (FileStream model = File.OpenRead(file)) await model.CopyToAsync(process.StandardInput.BaseStream);
        process.StandardInput.Close();
        await process.WaitForExitAsync();
        Assert.True(process.ExitCode == 0, await said);
        Assert.All((await lines).Trim().Split('\n'), line => JsonDocument.Parse(line).RootElement.GetProperty("logits"));
    }

    /// <summary>Zeros without end, as /dev/zero.</summary>
    private sealed class EndlessStream : MemoryStream
    {
        public override int Read(byte[] buffer, int offset, int count)
        {
            Array.Clear(buffer, offset, count);
            return count;
        }
    }
}
