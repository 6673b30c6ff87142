using System.Text.Json;
using System.Text.RegularExpressions;
using Espalier.Onnx;
using Espalier.Tensors;

namespace Espalier.Cli.Tests.Verbs;

/// <summary>A file of ONNX that says nothing of where it comes from, to a smaller one that `infer` runs with nothing else, by
/// each way to fewer or smaller numbers.</summary>
public sealed class SmallerNumbersTests : IDisposable
{
    /// <summary>What is asked for, without the files.</summary>
    private static readonly string[] Commands =
    [
        "compress enc --target-flops 0.7 --set timed=no --fine-tune-steps 2",
        "compress low-rank --target-flops 0.7 --set timed=no,images=32 --fine-tune-steps 2",
        "compress qat --set images=16 --train-steps 2 --fine-tune-steps 1",
        "compress quant-noise --set images=16 --train-steps 2",
        "compress ipq --set entries=16,linear=4 --fine-tune-steps 3",
        "quantize --calibration-images 16 --limit 20",
    ];

    private readonly TemporaryFolder folder = new();

    public static TheoryData<string, string> Rows
    {
        get
        {
            var rows = new TheoryData<string, string>();
            foreach (string network in new[] { "cifar-vgg11", "vit-tiny-28" })
                foreach (string command in Commands) rows.Add(network, command);
            return rows;
        }
    }

    public void Dispose() => folder.Dispose();

    [Theory, MemberData(nameof(Rows))]
    public void From_onnx_to_infer(string network, string command)
    {
        string any = folder.File("any.onnx"), small = folder.File("small.safetensors"), back = folder.File("back.onnx");
        Write(any, network);
        string[] batch = command.StartsWith("compress", StringComparison.Ordinal) ? ["--batch-size", "8"] : [];
        Tool.Run([.. command.Split(' '), .. batch, .. SmallCnn.Data, "--model", any, "--output", small]).MustSucceed();
        Assert.InRange(new FileInfo(small).Length, 1, 0.9 * new FileInfo(any).Length);
        Tool.Run("export", "--model", small, "--onnx", back).MustSucceed();
        float[] ours = Infer(small), exported = Infer(back);
        Assert.Equal(ours.Length, exported.Length);
        float largest = ours.Max(MathF.Abs);
        // Where all is codes, one beside the edge of two may be the other one.
        bool codes = Regex.IsMatch(command, "quantize|qat|quant-noise");
        float most = (codes ? 0.05f : 1e-4f) * largest;
        Assert.True(largest > 1e-3f, "the logits say nothing");
        for (int i = 0; i < ours.Length; i++) Assert.Equal(ours[i], exported[i], most);
    }

    private void Write(string path, string network)
    {
        using Model model = network == "cifar-vgg11" ? Model.Open(SmallCnn.Write(folder.File("net.safetensors"), network))
            : Model.Create(network, classes: 10);
        // A transformer's head is of zeros at first.
        var rng = new Rng(8);
        foreach (var (_, weight) in model.Graph.Parameters)
            if (weight.Rank == 2 && weight.Span.IndexOfAnyExcept(0) < 0)
                foreach (ref float w in weight.Span) w = 0.1f * rng.NextNormal();
        OnnxFile.Write(path, model.Graph);
    }

    private float[] Infer(string model)
    {
        string lines = folder.File("lines.jsonl");
        Outcome done = Tool.Run(["infer", "--model", model, .. SmallCnn.Data, "--limit", "20", "--output", lines]).MustSucceed();
        Assert.Contains("accuracy", done.Out);
        return [.. File.ReadLines(lines).SelectMany(l => JsonDocument.Parse(l).RootElement.GetProperty("logits").EnumerateArray()
            .Select(x => x.GetSingle()))];
    }
}
