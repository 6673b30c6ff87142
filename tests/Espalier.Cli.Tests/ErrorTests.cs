using System.Diagnostics;
using System.Text.Json;
using Espalier.Cli.Running;

namespace Espalier.Cli.Tests;

/// <summary>Whatever is wrong, the user gets one line that says what, and exit code 2 (or 1 where the work itself
/// failed).</summary>
public sealed class ErrorTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    /// <summary>Escape sequences of a file's name, a change of direction and a bell reach no terminal.</summary>
    [Fact]
    public void What_steers_a_terminal_is_shown_as_question_marks()
    {
        string line = Tool.Run("predict", "a\u001b[2J\u0007\u202eb\u009bc.png", "--model", Golden.Checkpoint, "--config", Golden.Config)
            .Error;
        Assert.Contains("a?[2J??b?c.png", line);
        Assert.DoesNotContain(line, c => char.IsControl(c) && c is not ('\n' or '\r'));
        Assert.Equal("naïve 靴\ttab", Terminal.Clean("naïve 靴\ttab"));
    }

    /// <summary>Of one process and of several, which say it in one place: before training has begun nothing catches it before.</summary>
    [Fact]
    public void An_interruption_is_no_failure()
    {
        using var cancel = new CancellationTokenSource();
        var context = new CommandContext(new Terminal(TextWriter.Null, TextWriter.Null, Interactive: false, 80), cancel.Token);
        Assert.StartsWith("unexpected failure", Errors.Describe(new OperationCanceledException(), context, null).Line);
        cancel.Cancel();
        Assert.Equal((ExitCodes.Interrupted, "interrupted"), Errors.Describe(new OperationCanceledException(), context, null));
        Assert.Equal((ExitCodes.WrongInput, "no"), Errors.Describe(new EspalierException("no"), context, null));
    }

    /// <summary>JSON keeps the words: what steers is escaped there.</summary>
    [Fact]
    public void Json_gives_back_what_steers_a_terminal()
    {
        const string Words = "a\u202eb\u2066\u2028\u009bc 靴 👟";
        var output = new StringWriter();
        JsonLines.Write(new Terminal(output, output, Interactive: false, Width: 80), json => json.WriteString("text", Words));
        string line = output.ToString().TrimEnd();
        Assert.Equal(Words, JsonDocument.Parse(line).RootElement.GetProperty("text").GetString());
        Assert.Equal(line, Terminal.Clean(line));
        Assert.Contains("靴", line);
    }

    [Theory]
    [InlineData("unknown verb 'bogus'", "bogus")]
    [InlineData("unknown option '--bogus'", "train --bogus")]
    [InlineData("do you mean '--num-steps'", "train --num-step 4")]
    [InlineData("see 'espalier data fetch --help'", "data fetch")]
    [InlineData("--num-steps must be a whole number of at least 1, not '0'", "train --num-steps 0")]
    [InlineData("not '1.5'", "train --num-steps 1.5")]
    [InlineData("not 'nan'", "train --learning-rate nan")]
    [InlineData("not '0,001' (do you mean 0.001?)", "train --learning-rate 0,001")]
    [InlineData("not '1,000' (do you mean 1000?)", "train --num-steps 1,000")]
    [InlineData("not '1,000' (do you mean 1 or 1000?)", "train --learning-rate 1,000")]
    [InlineData("not '1.000.000' (do you mean 1000000?)", "train --num-steps 1.000.000")]
    [InlineData("not '10_000' (do you mean 10000?)", "train --num-steps 10_000")]
    [InlineData("not '50%' (do you mean 0.5?)", "train --target-flops 50%")]
    [InlineData("not '7%' (do you mean 0.07?)", "train --target-flops 7%")]
    [InlineData("not '12,5%' (do you mean 0.125?)", "train --dropout 12,5%")]
    [InlineData("(do you mean 0.0625?)", "compress l1 --ratio 1/16")]
    [InlineData("PATTERN=SHARE (do you mean 0.5?)", "compress l1 --ratio 0,5")]
    [InlineData("not '40%' (do you mean 0.4?)", "compress l1 --target-flops 40%")]
    [InlineData("--score-threshold must be a number, not '0,3' (do you mean 0.3?)", "compress l1 --score-threshold 0,3")]
    [InlineData("not '0,25'", "compress sensitivity --ratios 0,25")]
    [InlineData("--weight-decay must be a number of at least 0, not ' 1'", "train --weight-decay _1")]
    [InlineData("--max-grad-norm must be a number of at least 0, not '0,5' (do you mean 0.5?)", "train --max-grad-norm 0,5")]
    [InlineData("unknown option '--modle' for 'predict' (do you mean '--model'?)", "predict boot.png --modle other.safetensors")]
    [InlineData("unknown option '--precison' for 'predict' (do you mean '--precision'?)", "predict boot.png --precison int8")]
    [InlineData("unknown option '--modle=x' for 'predict' (do you mean '--model'?)", "predict boot.png --modle=x")]
    [InlineData("unknown option '-x' for 'predict'", "predict boot.png -x")]
    [InlineData("unknown option '--modle' for 'infer' (do you mean '--model'?)", "infer --modle other.safetensors")]
    [InlineData("unknown option '--nmae' for 'report' (do you mean '--name'?)", "report --nmae")]
    [InlineData("unknown option '--lr' for 'train' (it is --learning-rate here)", "train --lr 0.1")]
    [InlineData("unknown option '--batch-size' for 'train' (it is --train-batch-size here)", "train --batch-size 8")]
    [InlineData("unknown option '--device' for 'train' (there is the CPU only, by --threads)", "train --device cuda")]
    [InlineData("unknown option '-b' for 'infer' (it is --batch-size here)", "infer -b 8")]
    [InlineData("--freeze holds a trained backbone still", "train --data fashion-mnist-sample --freeze 1")]
    [InlineData("unknown argument 'much'", "kernels much")]
    [InlineData("cannot read", "predict --no-picture -- --modle")]
    [InlineData("do you mean 'ViT-B_16'?", "train --data fashion-mnist-sample --model-type vit-b16")]
    [InlineData("do you mean 'resnet20'?", "train --data fashion-mnist-sample --model-type resnet-20")]
    [InlineData("do you mean 'fashion-mnist'?", "train --data FashionMNIST")]
    [InlineData("do you mean 'taylor'?", "compress tayler --model x")]
    [InlineData("do you mean 'cosine'?", "train --decay-type cosinus")]
    [InlineData("--exploration must be a number from 0 to 1", "train --exploration 2")]
    [InlineData("--decay-type must be one of", "train --decay-type sometimes")]
    [InlineData("--threads must be", "--threads 0 data list")]
    [InlineData("unknown model 'ViT-X'", "train --data fashion-mnist-sample --model-type ViT-X")]
    [InlineData("no such data set", "train --data imagenet")]
    [InlineData("micro-batches", "train --data fashion-mnist-sample --train-batch-size 10 --gradient-accumulation-steps 3")]
    [InlineData("do not fill one batch", "train --data fashion-mnist-sample --train-batch-size 5000")]
    [InlineData("option of --method apt", "train --method none --target-flops 0.5")]
    [InlineData("give one of them", "train --init a --pretrained b")]
    [InlineData("give one of them", "train --init a --initial-weights mimetic")]
    [InlineData("is of transformers", "train --model-type resnet20 --initial-weights mimetic")]
    [InlineData("--width has no meaning", "bench --model no-such-file --width 0.5")]
    [InlineData("leave --model-type and --img-size out", "bench --config shape.json --img-size 28")]
    [InlineData("has no state of the run nobody", "train --resume --name nobody")]
    [InlineData("leave --bits out", "quantize --model no-such-file --bits 4 --target-size 0.2")]
    [InlineData("deit-hard takes the answer alone", "train --method none --teacher no-such-file --distillation deit-hard --temperature 2")]
    [InlineData("--template is for names of classes", "clip classify boot.png --model no-such-file --text dog --template plain")]
    [InlineData("cannot name a run", "train --data fashion-mnist-sample --name ../up --num-steps 1")]
    [InlineData("--model FILE", "infer --data fashion-mnist-sample")]
    [InlineData("no-such-file", "infer --model no-such-file --data fashion-mnist-sample")]
    [InlineData("no-such-file", "train --data fashion-mnist-sample --init no-such-file --model-type vit-tiny-28")]
    [InlineData("no-such-file", "train --data fashion-mnist-sample --config no-such-file")]
    [InlineData("no-such-folder", "data check folder --data-dir no-such-folder")]
    [InlineData("no-such-folder", "report no-such-folder")]
    [InlineData("say what to profile", "profile")]
    [InlineData("--onnx FILE.onnx", "export --model no-such-file")]
    [InlineData("--model FILE", "export --onnx out.onnx")]
    [InlineData("no-such-file", "export --onnx out.onnx --model no-such-file")]
    [InlineData("leave one of them out", "export --onnx out.onnx --model no-such-file --dense --threshold 0.5")]
    [InlineData("not a multiple of patchSize", "profile --model-type ViT-B_16 --img-size 100")]
    public void Wrong_arguments(string expected, string arguments) =>
        Assert.Contains(expected, Tool.Run([.. arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .Select(a => a.StartsWith('_') ? " " + a[1..] : a)]).MustFail(2));

    [Theory]
    [InlineData("""{"hiddenSize":64,"hiddenSize":64,"mlpDim":128,"numHeads":4,"numLayers":2}""", "not a model configuration")]
    [InlineData("{", "not a model configuration")]
    [InlineData("", "not a model configuration")]
    [InlineData("[1,2]", "a model configuration is a JSON object")]
    [InlineData("""{"hiddenSize":64,"mlpDim":128,"numHeads":5,"numLayers":2}""", "does not divide into 5 heads")]
    [InlineData("""{"hiddenSize":64,"mlpDim":128,"numHeads":4,"numLayers":2,"patchSize":0}""", "patchSize must be")]
    [InlineData("""{"hiddenSize":64,"mlpDim":128,"numHeads":4,"numLayers":2,"nmuClasses":3}""", "nmuClasses")]
    [InlineData("""{"imageSize":28,"patchSize":4,"channels":1,"hiddenSize":64,"mlpDim":128,"numHeads":4,"numLayers":2,"numClasses":3}""",
        "3 classes")]
    [InlineData("""{"imageSize":28,"patchSize":4,"channels":2,"hiddenSize":64,"mlpDim":128,"numHeads":4,"numLayers":2,"numClasses":10}""",
        "channels is 2")]
    public void Bad_configurations(string json, string expected)
    {
        File.WriteAllText(folder.File("config.json"), json);
        string line =
            Tool.Run("train", "--data", "fashion-mnist-sample", "--config", folder.File("config.json"), "--num-steps", "1",
            "--output-dir", folder.File("out")).MustFail(2);
        Assert.Contains(expected, line);
        Assert.Contains("config.json", line);
        Assert.False(Directory.Exists(folder.File("out")));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(100)]
    [InlineData(200_000)]
    public void Truncated_checkpoints(int length)
    {
        string path = folder.File("cut.pth");
        File.WriteAllBytes(path, File.ReadAllBytes(Golden.Checkpoint)[..length]);
        string line =
            Tool.Run("infer", "--model", path, "--config", Golden.Config, "--data", "fashion-mnist", "--data-dir", Golden.Folder,
            "--output", folder.File("out.jsonl")).MustFail(2);
        Assert.Contains("cut.pth", line);
        Assert.Equal([path], Directory.GetFiles(folder.Path));
    }

    [Fact]
    public void A_checkpoint_of_another_shape()
    {
        string config =
            File.ReadAllText(Golden.Config).Replace("\"hiddenSize\": 32", "\"hiddenSize\": 48", StringComparison.Ordinal);
        File.WriteAllText(folder.File("other.json"), config);
        Assert.Contains("random.pth", Tool.Run("infer", "--model", Golden.Checkpoint, "--config", folder.File("other.json"),
            "--data", "fashion-mnist", "--data-dir", Golden.Folder).MustFail(2));
    }

    [Fact]
    public void A_checkpoint_that_does_not_say_its_shape() =>
        Assert.Contains("--config",
            Tool.Run("infer", "--model", Golden.Checkpoint, "--data", "fashion-mnist-sample").MustFail(2));

    [Fact]
    public void An_empty_data_folder()
    {
        Assert.Contains("no train-images-idx3-ubyte",
            Tool.Run("train", "--data", "fashion-mnist", "--data-dir", folder.Path).MustFail(2));
        Assert.Contains("no class folders", Tool.Run("data", "check", "folder", "--data-dir", folder.Path).MustFail(2));
    }

    [Fact]
    public void A_damaged_data_file()
    {
        foreach (string file in Directory.GetFiles(Golden.Folder, "*ubyte")) File.Copy(file, folder.File(Path.GetFileName(file)));
        using (FileStream images = File.OpenWrite(folder.File("train-images-idx3-ubyte"))) images.SetLength(1000);
        Assert.Contains("train-images-idx3-ubyte",
            Tool.Run("train", "--data", "fashion-mnist", "--data-dir", folder.Path).MustFail(2));
    }

    [Fact]
    public void An_output_that_cannot_be_written()
    {
        File.WriteAllText(folder.File("file"), "");
        string below = Path.Combine(folder.File("file"), "below");
        Assert.Contains("below", Tool.Run(["infer", .. Golden.Model, "--output", Path.Combine(below, "out.jsonl")]).MustFail(2));
        Assert.Contains("below", Tool.Run(Golden.Train(below, 1)).MustFail(2));
        if (OperatingSystem.IsLinux()) Assert.Contains("/dev/full",
            Tool.Run(["infer", .. Golden.Model, "--output", "/dev/full"]).MustFail(2));
    }

    [Fact]
    public void A_full_device_is_a_failure_of_the_work()
    {
        if (!OperatingSystem.IsLinux()) return;
        string dll = Path.Combine(AppContext.BaseDirectory, "espalier.dll");
        using Process shell =
            Process.Start(new ProcessStartInfo("sh",
                ["-c", $"dotnet '{dll}' data list > /dev/full"]) { RedirectStandardError = true })!;
        string error = shell.StandardError.ReadToEnd();
        shell.WaitForExit();
        Assert.Contains("No space left", new Outcome(shell.ExitCode, "", error).MustFail(1));
    }

    [Fact]
    public void The_trace_is_shown_on_request_only()
    {
        Outcome outcome = Tool.Run("infer", "--model", "no-such-file", "--data", "fashion-mnist-sample", "--verbose");
        Assert.Equal(2, outcome.Code);
        Assert.Contains("   at ", outcome.Error);
    }

    [Fact]
    public void Logits_that_are_not_numbers_name_the_checkpoint()
    {
        Tool.Run(Golden.Train(folder.Path, 1)).MustSucceed();
        byte[] bytes = File.ReadAllBytes(folder.File("apt.safetensors"));
        BitConverter.GetBytes(float.NaN).CopyTo(bytes, bytes.Length - 4 - HeadOffset(bytes));
        File.WriteAllBytes(folder.File("apt.safetensors"), bytes);
        Assert.Contains("apt.safetensors",
            Tool.Run("infer", "--model", folder.File("apt.safetensors"), "--data-dir", Golden.Folder,
            "--output", folder.File("out.jsonl")).MustFail(2));
        Assert.False(File.Exists(folder.File("out.jsonl")));
    }

    /// <summary>How far the last float of head.bias is from the file's last float, in bytes.</summary>
    private static int HeadOffset(byte[] file)
    {
        int header = (int)BitConverter.ToInt64(file);
        JsonElement entry = JsonDocument.Parse(file.AsMemory(8, header)).RootElement.GetProperty("head.bias");
        return file.Length - 8 - header - entry.GetProperty("data_offsets")[1].GetInt32();
    }
}
