using System.Text.Json;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Cli.Tests.Verbs;

public sealed class BenchVerbTests : IDisposable
{
    private static readonly string[] Quick = ["--warmup", "1", "--repeats", "2", "--min-time", "0", "--batch-size", "1,3"];
    private static readonly string[] Agents =
        ["bench", "--model", Golden.Checkpoint, "--config", Golden.Config, .. Quick, "--threads", "1"];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Json_has_the_machine_and_every_configuration_with_its_samples()
    {
        JsonElement root = JsonDocument.Parse(Bench([.. Agents, "--mode", "infer,train", "--format", "json"])).RootElement;
        JsonElement machine = root.GetProperty("machine");
        Assert.Equal(KernelInfo.Name, machine.GetProperty("kernel").GetString());
        Assert.True(machine.GetProperty("peak_gflops").GetProperty("1").GetDouble() > 0);

        JsonElement[] results = [.. root.GetProperty("results").EnumerateArray()];
        Assert.Equal(
            from mode in new[] { "infer", "train" }
            from variant in new[] { "dense", "pruned" }
            from batch in new[] { 1, 3 }
            select (mode, variant, batch),
            results.Select(r => (Text(r, "mode"), Text(r, "variant"),
                r.GetProperty($"{Text(r, "mode")}_batch_size").GetInt32())));
        foreach (JsonElement r in results)
        {
            string mode = Text(r, "mode"), other = mode == "infer" ? "train" : "infer";
            long[] samples = [.. r.GetProperty("samples_ns").EnumerateArray().Select(s => s.GetInt64())];
            Assert.Equal(2, samples.Length);
            double mean = samples.Average();
            Assert.Equal(mean, r.GetProperty("avg_ns").GetDouble(), 3);
            Assert.Equal(r.GetProperty($"{mode}_batch_size").GetInt32() * 1e9 / mean,
                r.GetProperty($"{mode}_samples_per_sec").GetDouble(), 2);
            Assert.Equal(mean / 1e6, r.GetProperty($"{mode}_step_time").GetDouble(), 3);
            Assert.Equal(28, r.GetProperty($"{mode}_img_size").GetInt32());
            Assert.True(r.GetProperty("peak_rss_bytes").GetInt64() > 1 << 20);
            Assert.DoesNotContain(r.EnumerateObject(), p => p.Name.StartsWith(other + "_", StringComparison.Ordinal));
            Assert.Equal(mode == "train", r.TryGetProperty("forward_equivalents", out _));
            Assert.Equal(Text(r, "variant") == "pruned" ? 3 : 1, r.GetProperty("tokens").GetArrayLength());
        }
    }

    [Fact]
    public void Checkpointed_steps_stand_beside_the_others()
    {
        string[] lines = [.. Lines(Bench([.. Agents, "--mode", "train", "--checkpoint-activations", "--format", "jsonl"]))
            .Select(r => $"{Text(r, "variant")} {r.GetProperty("train_batch_size").GetInt32()}")];
        Assert.Equal(from variant in new[] { "dense", "pruned" }
                     from batch in new[] { 1, 3 }
                     from way in new[] { "", "-checkpointed" }
                     select $"{variant}{way} {batch}", lines);
        Outcome wrong = Tool.Run([.. Agents, "--checkpoint-activations"]);
        Assert.Contains("--checkpoint-activations is of training steps; add --mode train", wrong.Error);
    }

    [Fact]
    public void Operations_are_twice_the_multiply_adds_and_their_share_that_of_the_peak()
    {
        JsonElement r = Lines(Bench([.. Agents, "--dense", "--format", "jsonl"]))[1];
        double macs = 3.44e6;       // what `profile` says of this model
        Assert.Equal(macs / 1e9, r.GetProperty("infer_gmacs").GetDouble(), 4);
        double gflops = r.GetProperty("gflops").GetDouble();
        Assert.Equal(1, gflops / (2 * 3 * macs / r.GetProperty("avg_ns").GetDouble()), 2);
        Assert.Equal(gflops / r.GetProperty("peak_gflops").GetDouble(), r.GetProperty("peak_share").GetDouble(), 9);
    }

    [Fact]
    public void A_dense_training_step_has_three_times_the_multiply_adds()
    {
        JsonElement[] rows = Lines(Bench([.. Agents, "--dense", "--mode", "infer,train", "--format", "jsonl"]));
        Assert.Equal(rows[0].GetProperty("infer_gmacs").GetDouble() * 3, rows[2].GetProperty("train_gmacs").GetDouble(), 3);
    }

    [Fact]
    public void Csv_has_a_field_in_every_column()
    {
        string[] lines = Bench([.. Agents, "--format", "csv"]).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        string[] names = lines[0].Split(',');
        foreach (string name in new[] { "cpu_info", "build_commit", "model", "infer_samples_per_sec", "infer_step_time",
            "infer_batch_size", "infer_img_size", "infer_gmacs", "param_count", "avg_ns", "stddev_ns", "p50_ns", "p90_ns", "p99_ns" })
            Assert.Contains(name, names);
        Assert.Equal(1 + 4, lines.Length);
        int model = Array.IndexOf(names, "model"), batch = Array.IndexOf(names, "infer_batch_size");
        Assert.All(lines[1..], line => Assert.Equal(names.Length, Cells(line).Length));
        Assert.All(lines[1..], line => Assert.Equal("random.pth", Cells(line)[model]));
        Assert.Equal(["1", "3", "1", "3"], lines[1..].Select(line => Cells(line)[batch]));
    }

    [Fact]
    public void Markdown_is_a_table()
    {
        string[] lines = Bench([.. Agents, "--format", "md", "--pruned"]).Split('\n');
        string[] table = [.. lines.Where(l => l.StartsWith('|'))];
        Assert.Equal(2 + 2, table.Length);
        Assert.Single(table.Select(l => l.Count(c => c == '|')).Distinct());
        Assert.Contains("GFLOP/s", table[0]);
        Assert.Matches(@"^\| --- \|( ---: \|)+$", table[1]);
        Assert.StartsWith("| infer pruned | 1 | 1 |", table[2]);
    }

    [Theory]
    [InlineData("out.json")]
    [InlineData("out.jsonl")]
    [InlineData("out.csv")]
    [InlineData("out.md")]
    [InlineData("out.txt")]
    public void A_file_has_the_format_of_its_ending_and_the_table_goes_to_the_terminal(string name)
    {
        string shown = Bench([.. Agents, "--dense", "--output", folder.File(name)]);
        string written = File.ReadAllText(folder.File(name));
        Assert.Contains("P50 / P90 / P99", shown);
        Assert.Contains(name, shown);
        Action<string> expected = Path.GetExtension(name) switch
        {
            ".json" => text => JsonDocument.Parse(text),
            ".jsonl" => text => Assert.Equal(2, Lines(text).Length),
            ".csv" => text => Assert.StartsWith("cpu_info,", text),
            ".md" => text => Assert.Contains("\n| pass |", text),
            _ => text => Assert.Contains("infer dense", text),
        };
        expected(written);
    }

    [Fact]
    public void A_preset_needs_no_checkpoint_and_the_threads_are_put_back()
    {
        int threads = Workers.Threads;
        string[] rows = [.. Bench(["bench", "--model-type", "vit-tiny-28", .. Quick, "--threads", "1,2", "--format", "jsonl"])
            .Split('\n', StringSplitOptions.RemoveEmptyEntries)];
        Assert.Equal([1, 1, 2, 2], rows.Select(r => JsonDocument.Parse(r).RootElement.GetProperty("threads").GetInt32()));
        Assert.Equal(threads, Workers.Threads);
    }

    [Fact]
    public void Agents_keep_the_share_that_is_asked_for()
    {
        // vit-tiny-28 has 49 patches and agents after two blocks; each keeps the upper half, ceil, and the class token stays.
        JsonElement[] rows = Lines(Bench(
            ["bench", "--model-type", "vit-tiny-28", .. Quick, "--threads", "1", "--keep-share", "0.5", "--format", "jsonl"]));
        Assert.Equal(["dense", "dense", "keep-0.5", "keep-0.5"], rows.Select(r => Text(r, "variant")));
        Assert.Equal([50.0, 26.0, 14.0], rows[3].GetProperty("tokens").EnumerateArray().Select(t => t.GetDouble()));
        Assert.InRange(rows[3].GetProperty("infer_gmacs").GetDouble(), 0.0001,
            rows[1].GetProperty("infer_gmacs").GetDouble() - 0.0001);
        Assert.Equal(["keep-0.5", "keep-0.5"], Lines(Bench([.. Agents, "--keep-share", "0.5", "--format", "jsonl"]))[4..]
            .Select(r => Text(r, "variant")));
    }

    [Fact]
    public void Inference_is_measured_in_every_precision_and_training_in_fp32()
    {
        string[] has = [.. Enum.GetValues<Precision>().Where(p => KernelInfo.For(p).Name is not null)
            .Select(p => $"{p}".ToLowerInvariant())];
        JsonElement[] rows = Lines(Bench(
            [.. Agents, "--precision", string.Join(',', has), "--mode", "infer,train", "--format", "jsonl"]));
        foreach (string precision in has)
        {
            JsonElement[] own = [.. rows.Where(r => Text(r, "precision") == precision)];
            Assert.Equal(precision == "fp32" ? 8 : 4, own.Length);
            Assert.All(own, r => Assert.Equal(
                KernelInfo.For(Enum.Parse<Precision>(precision, ignoreCase: true)).Name, Text(r, "kernel")));
        }
    }

    [Fact]
    // The count is the whole process's, and the runtime's own threads allocate a little at times; SessionTests are strict.
    public void A_warm_session_allocates_nothing() => Assert.All(Lines(Bench([.. Agents, "--format", "jsonl"])),
        r => Assert.InRange(r.GetProperty("allocated_bytes").GetInt64(), 0, 16 * 1024));

    [Theory]
    [InlineData("--keep-share must be", "bench --model-type vit-tiny-28 --keep-share 0")]
    [InlineData("--precision must be one or more of fp32, bf16, int8", "bench --model-type vit-tiny-28 --precision fp8")]
    [InlineData("nothing is left to measure", "bench --model-type vit-tiny-28 --mode train --pruned --keep-share 0.5")]
    [InlineData("say what to measure", "bench")]
    [InlineData("--batch-size must be a whole number from 1 to 65536, or several",
        "bench --model-type ViT-B_16 --batch-size 1,0")]
    [InlineData("not '1,,2'", "bench --model-type ViT-B_16 --threads 1,,2")]
    [InlineData("--mode must be one or more of infer, train", "bench --model-type ViT-B_16 --mode infer,test")]
    [InlineData("--format must be one of table, md, csv, json, jsonl", "bench --model-type ViT-B_16 --format xml")]
    [InlineData("--repeats must be", "bench --model-type ViT-B_16 --repeats 0")]
    [InlineData("--min-time must be", "bench --model-type ViT-B_16 --min-time -1")]
    [InlineData("vit-tiny-28: has no agents", "bench --model-type vit-tiny-28 --pruned")]
    [InlineData("unknown model 'ViT-X'", "bench --model-type ViT-X")]
    [InlineData("no-such-file", "bench --model no-such-file")]
    public void Wrong_arguments(string expected, string arguments) =>
        Assert.Contains(expected, Tool.Run(arguments.Split(' ')).MustFail(2));

    private static string Bench(string[] args)
    {
        Outcome outcome = Tool.Run(args);
        // A slow machine may have said on standard error how far it is.
        Assert.True(outcome.Code == 0, outcome.Error);
        return outcome.Out;
    }

    private static JsonElement[] Lines(string text) =>
        [.. text.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonDocument.Parse(l).RootElement)];

    private static string Text(JsonElement row, string name) => row.GetProperty(name).GetString()!;

    /// <summary>The cells of a line whose only quoted one may be the processor's name.</summary>
    private static string[] Cells(string line) => line.StartsWith('"')
        ? ["", .. line[(line.IndexOf('"', 1) + 2)..].Split(',')] : line.Split(',');
}
