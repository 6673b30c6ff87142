using System.Text.Json;
using Espalier.Compression.Methods.Apt;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Formats;
using Espalier.Models;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

/// <summary>Against the PyTorch reference; tests/goldens/make_apt.py makes the files.</summary>
public sealed class AptReferenceTests
{
    private static readonly VitConfig Config = VitConfig.Read(AptGolden.Path("config.json"));

    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    public void A_pruned_pass_gives_the_references_tokens_and_logits(int batchSize)
    {
        using Model model = Model.Open(AptGolden.Path("random.pth"), new OpenOptions { Config = Config });
        var results = AptGolden.Run(model, null, batchSize);

        Assert.Equal((64, 64), (AptGolden.Expected().Length, results.Count));
        foreach (var (expected, actual) in AptGolden.Expected().Zip(results))
        {
            Assert.Equal(expected.GetProperty("tokens").EnumerateArray().Select(t => t.GetInt32()), actual.Tokens);
            AptGolden.AssertClose(expected.GetProperty("logits"), actual.Logits);
        }
        Assert.Contains(results, r => r.Tokens[1] < r.Tokens[0] && r.Tokens[2] < r.Tokens[1]);
    }

    [Fact]
    public void An_unpruned_pass_gives_the_references_logits()
    {
        using Model model = Model.Open(AptGolden.Path("random.pth"), new OpenOptions { Config = Config });
        JsonElement[] references = AptGolden.Expected();
        var results = AptGolden.Run(model, Pruning.None, 16);
        Assert.Equal((64, 64), (references.Length, results.Count));
        foreach (var (expected, actual) in references.Zip(results)) AptGolden.AssertClose(expected.GetProperty("plain"), actual.Logits);
    }

    [Fact]
    public void Four_training_steps_give_the_references_weights() => AssertTrained(new Apt { Exploration = 0 }, "trained.pth");

    [Fact]
    public void Four_steps_paid_by_agreement_give_the_references_weights() => AssertTrained(
        new Apt { Exploration = 0, Reward = AgentReward.Agreement, RewardMargin = 0.002f }, "trained-acting.pth");

    private static void AssertTrained(Apt apt, string file)
    {
        using Model model = Model.Open(AptGolden.Path("random.pth"), new OpenOptions { Config = Config });
        var task = new AptTask(model, apt);
        var optimizer = new Sgd(ParameterGroup.Of(model.Graph), momentum: 0.9f);
        using var loader = AptGolden.Loader(Datasets.Open("fashion-mnist", AptGolden.Path("")).Train, 16);
        for (int step = 0; step < 4; step++)
        {
            using var scope = new Scope();
            task.Step(loader.Next(), new StepContext(step + 1, 4, 0, 0, 1, new Rng(0, (ulong)step)));
            GradientClip.ByGlobalNorm([.. model.Graph.Parameters.Select(p => p.Value)], 1);
            optimizer.Step(0.03f);
            foreach (var (_, parameter) in model.Graph.Parameters) parameter.ClearGrad();
        }

        Checkpoint expected = CheckpointFile.Read(AptGolden.Path(file));
        foreach (var (name, tensor) in model.Graph.Parameters)
        {
            float[] reference = expected[name].Data;
            for (int i = 0; i < reference.Length; i++)
                Assert.True(MathF.Abs(reference[i] - tensor.Span[i]) < 1e-4f, $"{name}[{i}]: {tensor.Span[i]}, reference {reference[i]}");
        }
    }
}

internal static class AptGolden
{
    public static string Path(string file) => System.IO.Path.Combine(AppContext.BaseDirectory, "Goldens", "Apt", file);

    public static JsonElement[] Expected() =>
        JsonSerializer.Deserialize<JsonElement[]>(File.ReadAllText(Path("expected.json")))!;

    public static DataLoader Loader(IImageDataset data, int batchSize) => new(data, ImagePipeline.Eval(28, 1), batchSize);

    public static List<ImageResult> Run(Model model, Pruning? pruning, int batchSize)
    {
        var results = new List<ImageResult>();
        using DataLoader loader = Loader(Datasets.Open("fashion-mnist", Path("")).Test, batchSize);
        using Session session = Session.Of(model);
        new Evaluator(session, pruning).Run(loader.Once(), results.Add);
        return results;
    }

    public static void AssertClose(JsonElement expected, float[] actual)
    {
        float[] e = [.. expected.EnumerateArray().Select(x => x.GetSingle())];
        Assert.Equal(e.Length, actual.Length);
        for (int i = 0; i < e.Length; i++) Assert.Equal(e[i], actual[i], 1e-4f);
    }
}
