using System.Text.Json;
using Espalier.Compression;

namespace Espalier.Cli.Tests.Verbs;

public sealed class CompressVerbTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void A_network_is_trained_made_smaller_and_made_smaller_again()
    {
        string first = folder.File("first.safetensors"), second = folder.File("second.safetensors"), plan = folder.File("plan.json");
        Outcome done = Tool.Run("compress", "l1", "--model-type", "cifar-vgg11", "--width", "0.125", "--img-size", "16", "--data",
            "fashion-mnist-sample", "--pretrain-steps", "3", "--fine-tune-steps", "2", "--batch-size", "16", "--target-flops", "0.6",
            "--output", first, "--plan-file", plan).MustSucceed();
        Assert.Contains("differs from the masked network", done.Out);
        foreach (string row in new[] { "parameters", "MACs an image", "accuracy", "file", "ms an image" }) Assert.Contains(row, done.Out);
        Assert.Contains("\"remove\"", File.ReadAllText(plan));
        Tool.Run("compress", "fpgm", "--model", first, "--ratio", "0.2", "--output", second).MustSucceed();
        using Model one = Model.Open(first), two = Model.Open(second);
        Assert.True(two.ParameterCount < one.ParameterCount);
        Assert.Equal("Ankle boot", two.Card.Classes![9]);
        Assert.Equal((1, 2), (one.Card.History.Count, two.Card.History.Count));

        byte[] before = File.ReadAllBytes(second);
        Outcome planned = Tool.Run("compress", "l2", "--model", second, "--plan").MustSucceed();
        Assert.Contains("feature.0", planned.Out);
        Assert.Contains("MACs/image", planned.Out);
        Assert.Equal(before, File.ReadAllBytes(second));
    }

    /// <summary>Of this processor: others cost no less.</summary>
    [Fact]
    public void Widths_are_whole_vectors_where_nothing_else_is_said()
    {
        int vector = new SelectionOptions { RoundTo = SelectionOptions.Automatic }.Multiple;
        int[] usual = Kept(), any = Kept("--round-to", "1");
        Assert.Equal(usual, Kept("--round-to", "auto"));
        Assert.All(usual, kept => Assert.True(kept <= vector || kept % vector == 0, $"{kept} channels"));
        Assert.Contains(any, kept => kept > vector && kept % vector != 0);

        int[] Kept(params string[] rounding)
        {
            string data = folder.File("report.json");
            Tool.Run(["compress", "l1", "--model-type", "cifar-vgg11", "--width", "0.5", "--img-size", "16", "--data",
                "fashion-mnist-sample", "--ratio", "0.4", "--report", data, .. rounding]).MustSucceed();
            using JsonDocument json = JsonDocument.Parse(File.ReadAllText(data));
            return [.. json.RootElement.GetProperty("groups").EnumerateArray().Select(g => g.GetProperty("kept").GetInt32())];
        }
    }

    [Theory]
    [InlineData("l1", true)]
    [InlineData("soft-filter", false)]
    public void What_was_done_is_written_down(string method, bool scored)
    {
        string page = folder.File("report.html"), data = folder.File("report.json");
        foreach (string report in new[] { page, data })
        {
            Outcome done = Tool.Run(["compress", method, "--model-type", "cifar-vgg11", "--width", "0.1", "--img-size", "16", "--data",
                "fashion-mnist-sample", .. (scored ? Array.Empty<string>() : ["--train-steps", "2"]), "--fine-tune-steps", "2",
                "--batch-size", "16", "--ratio", "0.5", "--report", report]).MustSucceed();
            Assert.Contains($"report      {report}", done.Out);
        }
        Assert.Contains("Channels kept", File.ReadAllText(page));
        Assert.Equal(scored, File.ReadAllText(page).Contains("Importance", StringComparison.Ordinal));
        using JsonDocument json = JsonDocument.Parse(File.ReadAllText(data));
        JsonElement groups = json.RootElement.GetProperty("groups"), first = groups[0];
        Assert.True(first.GetProperty("kept").GetInt32() < first.GetProperty("channels").GetInt32());
        Assert.Equal(scored ? 1 : 0, json.RootElement.GetProperty("selections").GetArrayLength());
        Assert.Equal(scored ? 1 : 2, json.RootElement.GetProperty("stages").GetArrayLength());
        Assert.True(json.RootElement.GetProperty("after").GetProperty("milliseconds").GetDouble() > 0);
    }

    [Fact]
    public void Fine_tuning_sees_images_as_they_are_or_augmented()
    {
        Assert.NotEqual(Tuned("--no-augment"), Tuned("--augment", "pad-crop-flip"));
        Assert.Contains("contradict", Tool.Run("compress", "l1", "--model-type", "cifar-vgg11", "--no-augment", "--augment", "flip").MustFail(2));

        byte[] Tuned(params string[] how)
        {
            string output = folder.File("tuned.safetensors");
            Tool.Run(["compress", "l1", "--model-type", "cifar-vgg11", "--width", "0.1", "--img-size", "16", "--data", "fashion-mnist-sample",
                "--fine-tune-steps", "2", "--batch-size", "16", "--ratio", "0.5", "--output", output, .. how]).MustSucceed();
            return File.ReadAllBytes(output);
        }
    }

    [Fact]
    public void A_report_is_a_page_or_data() => Assert.Contains("report.txt", Tool.Run("compress", "l1", "--model-type", "cifar-vgg11",
        "--report", folder.File("report.txt")).MustFail(2));

    [Fact]
    public void Blocks_are_removed_and_channels_of_what_is_left()
    {
        string first = folder.File("first.safetensors"), second = folder.File("second.safetensors");
        Outcome done = Tool.Run("compress", "stochastic-depth", "--model-type", "resnet20", "--width", "0.25", "--img-size", "16",
            "--data", "fashion-mnist-sample", "--train-steps", "2", "--batch-size", "16", "--set", "remove=2", "--output", first)
            .MustSucceed();
        Assert.Contains("removed 2 blocks (layer", done.Out);
        Tool.Run("compress", "l1", "--model", first, "--ratio", "0.2", "--output", second).MustSucceed();
        using Model one = Model.Open(first), two = Model.Open(second);
        string[] blocks = [.. ResidualBranch.Find(one.Graph).Select(b => b.Name)];
        Assert.Equal(9 - 2, blocks.Length);
        Assert.Equal(blocks, ResidualBranch.Find(two.Graph).Select(b => b.Name));
        Assert.True(two.ParameterCount < one.ParameterCount);
        Tool.Run("compress", "stochastic-depth", "--model", second, "--train-steps", "1", "--batch-size", "16", "--set", "remove=0")
            .MustSucceed();
        Assert.Contains("no residual blocks that could be removed",
            Tool.Run("compress", "stochastic-depth", "--model-type", "cifar-vgg11", "--data", "fashion-mnist-sample").MustFail(2));
    }

    [Fact]
    public void The_methods_are_listed_in_columns()
    {
        string list = Tool.Run("compress", "--list").MustSucceed().Out;
        foreach (CompressionMethod method in CompressionMethods.All) Assert.Contains($"{method.Name} ", list);
        Assert.Single(CompressionMethods.All.Select(m =>
            list.Split('\n').Single(l => l.StartsWith(m.Name + " ", StringComparison.Ordinal)).IndexOf(m.Purpose, StringComparison.Ordinal))
            .Distinct());
        string[] lines = list.Split('\n');
        int merging = Array.FindIndex(lines, l => l.StartsWith("tome ", StringComparison.Ordinal));
        Assert.Contains("cannot be followed by apt, ats", lines[merging + 1], StringComparison.Ordinal);
    }

    [Fact]
    public void Folders_of_what_is_written_are_made_before_the_work()
    {
        string model = SmallCnn.Write(folder.File("net.safetensors"));
        string output = folder.File("new/deep/small.safetensors"), report = folder.File("pages/report.html");
        Tool.Run("compress", "l1", "--model", model, "--ratio", "0.5", "--output", output, "--report", report).MustSucceed();
        Assert.True(File.Exists(output) && File.Exists(report));
        Outcome blocked = Tool.Run("compress", "l1", "--model", model, "--ratio", "0.5", "--output", $"{model}/small.safetensors");
        Assert.Contains("the folder cannot be made", blocked.MustFail(2));
        Assert.Equal("", blocked.Out);
    }

    [Theory]
    [InlineData("--width", "0.5")]
    [InlineData("--img-size", "32")]
    public void A_file_says_its_own_shape(string option, string value) => Assert.Contains(option,
        Tool.Run("compress", "l1", "--model", SmallCnn.Write(folder.File("net.safetensors")), option, value).MustFail(2));

    [Fact]
    public void A_plan_is_named_only_where_there_is_one()
    {
        string plan = folder.File("plan.json");
        string model = SmallCnn.Write(folder.File("net.safetensors"), "resnet20");
        string[] arguments = ["compress", "stochastic-depth", "--model", model, "--set", "remove=1", "--plan-file", plan];
        Assert.DoesNotContain(plan, Tool.Run(arguments).MustSucceed().Out);
        Assert.False(File.Exists(plan));
    }

    [Theory]
    [InlineData("--ratio", "1.2", "the ratio is 1.2; it is the share of channels to remove, above 0 and below 1")]
    [InlineData("--target-flops", "0.0000001", "--target-flops must be a number from 0.001 to 0.999, not '0.0000001'")]
    [InlineData("--target-latency", "0.0000001", "--target-latency must be a number from 0.001 to 1000000, not '0.0000001'")]
    [InlineData("--keep", "nothing*", "no layer that could be pruned matches 'nothing*'")]
    [InlineData("--keep", "*", "no layers whose channels could be removed")]
    [InlineData("--set", "magic=1", "--set magic: l1 has no settings")]
    [InlineData("--ratio", "0.001", "nothing would be removed: with so small a target every layer rounds to its full width")]
    [InlineData("--ratio", "half", "--ratio: 'half' is no share of channels")]
    [InlineData("--ratio", "layer9*=0.5", "no layer that could be pruned matches 'layer9*'")]
    [InlineData("--ratio", "*=0.5,feature.4=0.2", "the ratio of 'feature.4' is never used")]
    [InlineData("--train-only", "nothing*", "no parameter to train matches 'nothing*' of --train-only")]
    [InlineData("--groups", "qk", "no layers whose channels could be removed")]
    [InlineData("--groups", "neurons", "--groups: 'neurons' is none of channels, hidden, heads, qk, v, stream")]
    public void Impossible_requests_are_one_line_and_code_2(string option, string value, string reason) => Assert.Contains(reason,
        Tool.Run("compress", "l1", "--model-type", "cifar-vgg11", "--width", "0.125", "--img-size", "16", "--data",
            "fashion-mnist-sample", option, value).MustFail(2));

    /// <summary>A transformer ends smaller, is run and exported with nothing else, and is made smaller again.</summary>
    [Theory]
    [InlineData("l1", "--target-flops 0.5")]
    [InlineData("l1", "--ratio 0.5 --groups qk,v,stream --isomorphic")]
    [InlineData("taylor", "--target-flops 0.6 --groups heads,hidden,qk,v --unequal-heads --global")]
    [InlineData("soft-filter", "--target-flops 0.7 --train-steps 2")]
    [InlineData("stochastic-depth", "--set remove=1 --train-steps 2")]
    public void A_transformer_too(string method, string options)
    {
        string whole = folder.File("vit.safetensors"), small = folder.File("small.safetensors"), onnx = folder.File("small.onnx");
        using (Model vit = Model.Create("vit-tiny-28", 10, 1, 28))
        {
            vit.Card = vit.Card with { Dataset = "fashion-mnist-sample" };
            vit.Save(whole);
        }
        string[] run = ["compress", method, .. options.Split(' '), "--batch-size", "8", "--fine-tune-steps", "1"];
        Outcome done = Tool.Run([.. run, "--model", whole, "--output", small]).MustSucceed();
        Assert.Matches(@"differs from the masked network by \d\.\de-(0[6-9]|1\d)|masked network by 0", done.Out);
        Assert.Contains("20 images", Tool.Run("infer", "--model", small, "--limit", "20").MustSucceed().Out);
        Tool.Run("export", "--model", small, "--onnx", onnx).MustSucceed();
        using Model before = Model.Open(whole), after = Model.Open(small);
        Assert.True(after.Graph.CostPerImage.MultiplyAdds < 0.96 * before.Graph.CostPerImage.MultiplyAdds);
        Assert.True(new FileInfo(onnx).Length < new FileInfo(whole).Length);
    }

    /// <summary>The library says which of its properties is wrong; here that is what was typed.</summary>
    [Theory]
    [InlineData("taylor", "--set per-round=many", "--set per-round=many: it is a whole number from 0 to 1048576")]
    [InlineData("taylor", "--set per-round=64", "--set per-round goes with one --ratio")]
    [InlineData("l1", "--ratio half", "--ratio: 'half' is no share")]
    [InlineData("l1", "--global --ratio feature.4=0.2,*=0.5", "layers that compete have one ratio")]
    [InlineData("l1", "--train-only nothing*", "matches 'nothing*' of --train-only")]
    [InlineData("repr", "--train-steps 10 --train-only classifier*", "leave --train-only out")]
    [InlineData("stochastic-depth", "--model-type resnet20 --set remove=0", "set --train-steps")]
    [InlineData("l1", "--ratio 0.5 --train-steps 3", "leave --train-steps out, --fine-tune-steps are trained afterwards")]
    [InlineData("enc", "--target-flops 0.5 --recover", "leave --recover out")]
    [InlineData("l1", "--ratio 0.5 --calibration-images 8", "--calibration-images is of --recover")]
    [InlineData("l1", "--ratio 0.5 --plan --report page.html", "--plan trains and measures nothing")]
    [InlineData("ats", "--model-type vit-tiny-28 --target-flops 0.5", "ats goes by --set count; leave --target-flops")]
    [InlineData("tome", "--model-type vit-tiny-28 --target-flops 0.5 --set merge=3", "tome goes by --set merge; leave --target-flops")]
    public void Errors_name_flags(string method, string options, string expected)
    {
        string[] own = options.Split(' ');
        string[] network = own.Contains("--model-type") ? own.Contains("vit-tiny-28") ? [] : ["--img-size", "16"] : SmallCnn.Preset;
        Assert.Contains(expected, Tool.Run(["compress", method, .. own, .. network, .. SmallCnn.Data]).MustFail(2));
    }

    [Fact]
    public void Layers_have_ratios_of_their_own_and_only_named_ones_are_trained()
    {
        string whole = SmallCnn.Write(folder.File("net.safetensors")), cut = folder.File("cut.safetensors");
        string tuned = folder.File("tuned.safetensors");
        string[] run = ["compress", "l1", "--model", whole, "--ratio", "feature.0=0.5,feature.4=0.25"];
        Tool.Run([.. run, "--output", cut]).MustSucceed();
        Tool.Run([.. run, "--output", tuned, "--fine-tune-steps", "2", "--batch-size", "16", "--train-only", "classifier*"])
            .MustSucceed();
        using Model before = Model.Open(whole), after = Model.Open(cut), trained = Model.Open(tuned);
        Dictionary<string, float[]> cutValues = after.Graph.Weights.ToDictionary(w => w.Key, w => w.Value.Tensor.ToArray());
        foreach (var (name, value) in trained.Graph.Weights.Select(w => (w.Key, w.Value.Tensor)))
            Assert.True(name.StartsWith("classifier", StringComparison.Ordinal) != cutValues[name].SequenceEqual(value.ToArray()));
        int[] widths = [.. before.Graph.Parameters.Where(p => p.Value.Rank == 4).Select(p => p.Value.Shape[0])];
        Assert.Equal([widths[0] / 2, widths[1] - widths[1] / 4, .. widths[2..]],
            after.Graph.Parameters.Where(p => p.Value.Rank == 4).Select(p => p.Value.Shape[0]));
    }

    [Fact]
    public void An_unknown_method_is_refused_and_one_without_a_network_and_none_at_all()
    {
        Assert.Contains("there is no method 'magic'", Tool.Run("compress", "magic", "--model-type", "resnet20").MustFail(2));
        Assert.Contains("say what to compress", Tool.Run("compress", "l1").MustFail(2));
        Assert.Contains("say how to compress", Tool.Run("compress").MustFail(2));
    }
}
