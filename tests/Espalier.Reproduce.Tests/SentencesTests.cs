using Espalier.Cli;
using Espalier.Tensors.Threading;
using Espalier.Training;

namespace Espalier.Reproduce.Tests;

/// <summary>What sections say of how their runs came about is what ran.</summary>
public sealed class SentencesTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;
    private readonly int threads = Workers.Threads;

    public void Dispose()
    {
        Workers.Threads = threads;
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public void Runs_are_of_the_threads_that_made_them()
    {
        Assert.Equal("By how many threads the runs were made is not kept. Another number of threads rounds sums differently.", Of("old"));
        Note(1, "a");
        Assert.Matches(@"^The run was made by 1 thread of \d\S*\. Another", Of("a"));
        Note(1, "b");
        Assert.StartsWith("The 2 runs were made by 1 thread of ", Of("a", "b"));
        Note(2, "b");
        Note(2, "c");
        Assert.Matches(@"^The 4 runs were made: 1 by 1 thread of \S+; 1 by 1 thread of \S+, then 2 threads of \S+; 1 by 2 threads of \S+; "
            + "1 by processes of which nothing is kept\\. ", Of("a", "b", "c", "old"));
        Assert.Equal("", Of());

        string Of(params string[] names) => RunOrigin.Sentence(folder, names);

        void Note(int count, string name)
        {
            Workers.Threads = count;
            RunOrigin.Note(folder, name);
        }
    }

    [Fact]
    public void A_run_that_is_done_keeps_what_made_it()
    {
        var run = new RunFolder(folder, "a");
        var hours = new RunHours();
        bool Train(long steps) => hours.Train(run, steps, () => true);
        Assert.True(Train(20));
        string made = Path.Combine(folder, "a.made.json"), before = File.ReadAllText(made);
        File.WriteAllText(run.Model, "");
        File.WriteAllText(run.History, "{\"step\":10,\"loss\":1}\n");
        Workers.Threads = threads + 1;
        Assert.True(Train(10));
        Assert.Equal(before, File.ReadAllText(made));
        Assert.True(Train(20));
        Assert.NotEqual(before, File.ReadAllText(made));
    }

    [Theory]
    [InlineData("vit", "vit")]
    [InlineData("vit --seeds 1,2 --budgets 0.5", "vit", "--seeds", "1,2", "--budgets", "0.5")]
    [InlineData("vit --quick", "vit", "--output-dir", "/there/runs", "--data-dir=/there/images", "--quick")]
    [InlineData("vit --output-dir runs/vit --model mine", "vit", "--output-dir", "runs/vit", "--model", "/there/mine")]
    [InlineData("vit --model=mine.safetensors", "vit", "--model=/there/mine.safetensors")]
    [InlineData("vit --model 'my model'", "vit", "--model", "my model")]
    public void The_command_is_the_one_that_was_given_without_places_of_one_machine(string said, params string[] given)
    {
        var context = new CommandContext(new Terminal(TextWriter.Null, TextWriter.Null, false, 120), default) { Arguments = given };
        Assert.Equal($"{Commands.Start} {said}", GivenCommand.Of(context, "vit"));
    }

    [Fact]
    public void Options_are_said_as_they_are()
    {
        var options = new TrainOptions { Optimizer = "adamw", LearningRate = 5e-4f, WeightDecay = 0.05f };
        Assert.Equal("adamw at 0.0005, weight decay 0.05, cosine schedule", Sentences.Of(options));
        Assert.Equal("sgd at 0.05, weight decay 0, constant schedule",
            Sentences.Of(new TrainOptions { LearningRate = 0.05f, Momentum = 0, Schedule = "constant" }));
        Assert.Contains("0.11 epochs, so short that", Sentences.Length(100, 64, 60_000));
        Assert.Contains("10.00 epochs, a short training.", Sentences.Length(1000, 60, 6000));
    }

    /// <summary>Nothing is said of lines that are not there.</summary>
    [Fact]
    public void Notes_are_of_the_lines_that_there_are()
    {
        ComparedResult Row(string id, bool scratch = false) =>
            new(ComparedMethod.Transformers.Single(m => m.Id == id), 0.5, Records(), scratch ? Records() : null, 1, 1);
        string few = ComparisonResults.Notes([Row("l1")], 7);
        string all = ComparisonResults.Notes([Row("ats"), Row("patch-slimming"), Row("apt"), Row("l1", scratch: true)], 7);
        Assert.Equal("Methods are told which share of the multiply-adds may stay. No row has its shape from scratch beside it.", few);
        Assert.Contains("Where agents decide image by image", all);
        Assert.Contains("ATS and Patch Slimming know no such share", all);
        Assert.Contains("trained as the whole network was, for 7", all);
        Assert.Contains("ATS knows no such share", ComparisonResults.Notes([Row("ats")], 7));
        Assert.Contains("Where SPViT leaves attention in the first blocks only", ComparisonResults.Notes([Row("spvit")], 7));

        SizeResult Line(string id) => new(SizeMethod.All([0.5]).Single(m => m.Id == id), Records(), 1, 1, 1, 1, 1);
        string rounded = SizeResults.Notes([Line("ptq8")], 100, 6400);
        string trained = SizeResults.Notes([Line("qat4"), Line("ipq")], 100, 6400);
        Assert.Contains("Nothing here trains. Bits are of weights; values have 8.", rounded);
        Assert.DoesNotContain("4 bits", rounded);
        Assert.DoesNotContain("Low rank", rounded);
        Assert.Contains("100 steps of 64 images are 1.00 epochs", trained);
        Assert.Contains("Those of 4 bits compute in integers", trained);
        Assert.Contains("Code books", trained);
        Assert.Contains("Low rank is without any training, and without its check by time", SizeResults.Notes([Line("enc-map-0.5")], 100, 6400));
    }

    private static RunRecord[] Records() => [new(0.5, 1, 1, 1, "a")];
}
