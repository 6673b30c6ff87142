using System.Globalization;
using System.Text.Json;
using Espalier.Tensors;
using Espalier.Training;
using Method = Espalier.Compression.Methods.PatchSlimming.PatchSlimming;

namespace Espalier.Tests.Compression.Methods.PatchSlimming;

/// <summary>Patch slimming against PyTorch on a small transformer of four blocks, and a run that was stopped.</summary>
[Collection("Workers")]
public sealed class PatchSlimmingGoldenTests
{
    private const int Blocks = 4;

    private static readonly TinyGolden Golden = new("PatchSlimming", "steps.json");

    /// <summary>Every candidate is tuned for four steps, so that scores of earlier blocks are of tuned later ones.</summary>
    [Fact]
    public void The_search_takes_PyTorchs_way()
    {
        JsonElement golden = Golden.Root.GetProperty("search");
        using Model model = Golden.Model(Blocks);
        using var scope = new Scope();
        var log = new List<string>();
        var method = new Method { Epsilon = 1, Step = 1, TuneSteps = 4, TuneRate = 0.003 };
        IReadOnlyList<int[]> kept = method.Search(model.Graph, () => [TinyGolden.Images(0), TinyGolden.Images(1)], log.Add);
        Assert.Equal(Kept(golden), kept);
        JsonElement[] trace = [.. golden.GetProperty("trace").EnumerateArray()];
        Assert.Equal(trace.Length, log.Count);
        foreach (var (line, expected) in log.Zip(trace.Select(TinyGolden.Numbers)))
        {
            string[] words = line.Split(' ');
            Assert.Equal(($"{expected[0]}:", $"{expected[1]}"), (words[1], words[2]));
            Assert.Equal(expected[2], double.Parse(words[^1], CultureInfo.InvariantCulture), 1.5e-4);
        }
        CloseWeights(golden, model);
    }

    [Fact]
    public void Positions_are_worth_what_all_paths_of_heads_say()
    {
        JsonElement golden = Golden.Root.GetProperty("cut");
        using Model model = Golden.Model(Blocks);
        using var scope = new Scope();
        int[][] kept = Kept(golden);
        foreach (var (expected, t) in golden.GetProperty("scores").EnumerateArray().Select((s, t) => (TinyGolden.Numbers(s), t)))
        {
            double[] scores = new Method().Scores(model.Graph, kept, t, [TinyGolden.Images(0)]);
            TinyGolden.Close(expected, [.. scores.Select(s => (float)s)]);
        }
    }

    [Fact]
    public void Four_training_steps_give_PyTorchs_numbers()
    {
        JsonElement golden = Golden.Root.GetProperty("cut");
        using Model model = Golden.Model(Blocks);
        Method.Apply(model.Graph, Kept(golden));
        using var scope = new Scope();
        TinyGolden.Close(TinyGolden.Numbers(golden.GetProperty("first")), model.Graph.Run(TinyGolden.Images(0)).Span);
        double[] losses = TinyGolden.Train(model, 0.05f, 4);
        TinyGolden.Close(TinyGolden.Numbers(golden.GetProperty("losses")), [.. losses.Select(l => (float)l)]);
        TinyGolden.Close(TinyGolden.Numbers(golden.GetProperty("logits")), model.Graph.Run(TinyGolden.Images(4)).Span);
        CloseWeights(golden, model);
    }

    [Fact]
    public void Goes_on_where_it_stopped()
    {
        var (whole, resumed) = StoppedJob.Run(() => CompressionJobs.Model(CompressionJobs.TinyVit, 8, blocks: Blocks), new Method
        {
            Epsilon = 0.02, Step = 1, TuneSteps = 3, TuneRate = 0.003, FineTuneSteps = 5,
            Training = new TrainOptions { LearningRate = 0.01f },
        });
        Assert.Equal(whole.Keys, resumed.Keys);
        Assert.All(whole, w => Assert.Equal(w.Value, resumed[w.Key]));
    }

    private static int[][] Kept(JsonElement golden) =>
        [.. golden.GetProperty("kept").EnumerateArray().Select(k => k.EnumerateArray().Select(p => p.GetInt32()).ToArray())];

    private static void CloseWeights(JsonElement golden, Model model)
    {
        foreach (JsonProperty weight in golden.GetProperty("weights").EnumerateObject())
            TinyGolden.Close(TinyGolden.Numbers(weight.Value), model.Graph.Weights[weight.Name].Tensor.Span);
    }
}
