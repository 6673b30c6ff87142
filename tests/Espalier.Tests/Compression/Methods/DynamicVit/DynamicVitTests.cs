using System.Text.Json;
using Espalier.Compression;
using Espalier.Compression.Methods.DynamicVit;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

/// <summary>DynamicViT: the published counts, costs and formulas, PyTorch's training steps, and what comes out of a job.</summary>
[Collection("Workers")]
public sealed class DynamicVitTests
{
    [Theory]
    [InlineData(0.9, new[] { 176, 158, 142 }, 4.0407, 3.9136)]
    [InlineData(0.8, new[] { 156, 125, 100 }, 3.4631, 3.3487)]
    [InlineData(0.7, new[] { 137, 96, 67 }, 2.9809, 2.8780)]
    [InlineData(0.6, new[] { 117, 70, 42 }, 2.5647, 2.4729)]
    [InlineData(0.5, new[] { 98, 49, 24 }, 2.2291, 2.1468)]
    public void Keeps_as_many_as_published(double keep, int[] counts, double giga, double withoutPredictors) =>
        Check(384, 6, keep, counts, giga, withoutPredictors);

    [Fact]
    public void Costs_of_the_larger_network() => Check(768, 12, 0.7, [137, 96, 67], 11.4758, 11.0645);

    private static void Check(int width, int heads, double keep, int[] counts, double giga, double withoutPredictors)
    {
        Graph graph = TokenNets.Shapes(224, 16, width, 12, heads);
        new DynamicVit { Keep = keep }.Apply(graph);
        int[] tokens = TokenNets.Tokens(graph);
        Assert.Equal([197, .. counts.Select(c => c + 1)], new[] { tokens[2], tokens[3], tokens[6], tokens[9] });
        Assert.Equal((tokens[3], tokens[6], tokens[9]), (tokens[5], tokens[8], tokens[11]));
        // The class token's row goes through the predictors, too, which the published count leaves out.
        int half = width / 2, quarter = width / 4;
        long row = (width + half) * (long)width + half * quarter + quarter * 2;
        Assert.Equal(giga, (graph.CostPerImage.MultiplyAdds - 3 * row) / 1e9, 6e-5);
        Assert.Equal(withoutPredictors, (graph.CostPerImage.MultiplyAdds - (3 + 196 + counts[0] + counts[1]) * row) / 1e9, 6e-5);
        Assert.True(tokens.Length == 12 && graph.CostPerImage.MultiplyAdds < TokenNets.Shapes(224, 16, width, 12, heads)
            .CostPerImage.MultiplyAdds);
    }

    [Theory]
    [InlineData(192, 60_722)]
    [InlineData(384, 241_250)]
    [InlineData(768, 961_730)]
    public void Parameters_of_a_predictor(int width, int count)
    {
        var rng = new Rng(1);
        Assert.Equal(count, TokenPredictor.Create(width, ref rng).Weights.Sum(w => w.Length));
    }

    [Fact]
    public void Hidden_keys_get_next_to_nothing()
    {
        using var scope = new Scope();
        Tensor seen = DynamicTraining.Seen(Tensor.From(new Shape(3, 1), [1, 0, 1]), 3);
        float[] equal = DynamicTraining.MaskedSoftmax(Tensor.Zeros(new Shape(1, 3, 3)), seen).ToArray();
        const float Third = 1f / 3;
        Near([0.49999992f, 1.6666658e-7f, 0.49999992f, Third, Third, Third, 0.49999992f, 1.6666658e-7f, 0.49999992f], equal, 1e-7f);
        float[] row = [0, MathF.Log(2), MathF.Log(3)];
        float[] rising = DynamicTraining.MaskedSoftmax(Tensor.From(new Shape(1, 3, 3), [.. row, .. row, .. row]), seen).ToArray();
        Near([0.25000006f, 2.5e-7f, 0.74999969f, 0.16666675f, 0.33333333f, 0.49999992f], rising[..6], 1e-7f);
        Tensor scores = Random(5, 1, 3, 3);
        Tensor all = DynamicTraining.Seen(Tensor.Full(new Shape(3, 1), 1), 3);
        Near(F.Softmax(scores).ToArray(), DynamicTraining.MaskedSoftmax(scores, all).ToArray(), 1e-6f);
    }

    [Fact]
    public void Attention_without_hidden_keys_is_attention()
    {
        using var scope = new Scope();
        var heads = new HeadLayout([3, 4], [2, 5]);
        Tensor q = Random(1, 8, 7), k = Random(2, 8, 7), v = Random(3, 8, 7);
        Tensor seen = DynamicTraining.Seen(Tensor.Full(new Shape(8, 1), 1), 4);
        Tensor masked = DynamicTraining.MaskedAttention(q, k, v, seen, heads, 0.6f);
        q.Rows = k.Rows = v.Rows = RowSet.Uniform(2, 4);
        Near(F.Attention(q, k, v, heads, 0.6f).ToArray(), masked.ToArray(), 1e-5f);
    }

    [Fact]
    public void Decisions_are_hard_and_their_gradients_soft()
    {
        float logit = MathF.Log(0.3f / 0.7f), noise = 1.5f - 0.2f;
        Assert.Equal(0.6112815f, DecideOp.Soft(logit, noise), 1e-6f);
        using var scope = new Scope();
        Tensor logits = Tensor.From(new Shape(4, 1), [9, logit, logit, 9]);
        logits.Rows = RowSet.Uniform(1, 4);
        logits.RequiresGrad = true;
        using var recording = new Recording();
        Tensor y = new DecideOp(logits, 0, 1, (_, _) => [0, noise, -noise, -10]).Run();
        Assert.Equal([1, 1, 0, 0], y.ToArray());
        recording.Backward(F.Sum(y));
        const float Soft = 0.6112815f;
        float other = DecideOp.Soft(logit, -noise), last = DecideOp.Soft(9, -10);
        Near([0, Soft * (1 - Soft), other * (1 - other), last * (1 - last)], logits.Grad!.ToArray(), 1e-6f);
    }

    [Fact]
    public void Losses_of_shares_and_answers()
    {
        using var scope = new Scope();
        float[][] stages = [[1, 1, 0, 0, 1, 1, 1, 0], [1, 0, 0, 0, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]];
        double sum = 0;
        foreach (var (mask, target) in stages.Zip([0.75, 0.5, 0.25]))
        {
            Tensor m = Tensor.From(new Shape(8, 1), mask);
            m.Rows = RowSet.Uniform(2, 4);
            float loss = DynamicHook.RatioLoss(m, target, 0, 4).Item();
            Assert.Equal(0.03125f, loss, 1e-6f);
            sum += loss;
        }
        Assert.Equal(0.0625, 2 * sum / 3, 1e-6);
        Assert.Equal(0.4337808f, F.KlDivergence(Tensor.From(new Shape(1, 2), [2, 0]), Tensor.From(new Shape(1, 2), [1, 1])).Item(), 1e-6f);
        // Packed, what is gone counts as not kept.
        Tensor rest = Tensor.From(new Shape(3, 1), [1, 1, 0]);
        rest.Rows = RowSet.FromLengths([1, 2]);
        Assert.Equal((0.25f * 0.25f + 0.25f * 0.25f) / 2, DynamicHook.RatioLoss(rest, 0.5, 0, 4).Item(), 1e-6f);
    }

    [Fact]
    public void Kept_tokens_alone_are_compared()
    {
        using var scope = new Scope();
        Tensor tokens = Tensor.From(new Shape(6, 1), [1, 2, 3, 4, 5, 6]), wanted = Tensor.From(new Shape(6, 1), [9, 3, 9, 9, 9, 9]);
        tokens.Rows = wanted.Rows = RowSet.Uniform(2, 3);
        Assert.Equal(1, DynamicHook.TokenLoss(tokens, wanted, [1, 1, 0, 1, 0, 0], 1)!.Item());
        Assert.Equal((1 + 9) / 2f, DynamicHook.TokenLoss(tokens, wanted, [1, 1, 0, 1, 0, 1], 1)!.Item());
        Assert.Null(DynamicHook.TokenLoss(tokens, wanted, [1, 0, 0, 1, 0, 0], 1));
    }

    /// <summary>Of z whose second half is 2, 4, 6 the image's part is the mean over kept tokens; of none it is zero.</summary>
    [Theory]
    [InlineData(new float[] { 1, 0, 1 }, 4)]
    [InlineData(new float[] { 1, 1, 1 }, 4)]
    [InlineData(new float[] { 0, 0, 1 }, 6)]
    [InlineData(new float[] { 0, 0, 0 }, 0)]
    public void What_a_token_is_told_of_its_image(float[] mask, float expected)
    {
        using var scope = new Scope();
        Tensor z = Tensor.From(new Shape(3, 1), [2, 4, 6]), m = Tensor.From(new Shape(3, 1), mask);
        z.Rows = m.Rows = RowSet.Uniform(1, 3);
        m.RequiresGrad = true;
        using var recording = new Recording();
        Tensor image = TokenPredictor.OfImage(z, m, 0, 3);
        Near([expected, expected, expected], image.ToArray(), 1e-6f);
        recording.Backward(F.Sum(image));
        Assert.All(m.Grad!.ToArray(), g => Assert.InRange(g, -50, 50));
    }

    [Theory]
    [InlineData("masked")]
    [InlineData("packed")]
    public void Four_training_steps_give_PyTorchs_numbers(string mode)
    {
        var golden = new TinyGolden("DynamicVit", "steps.json");
        JsonElement root = golden.Root.GetProperty(mode);
        using Model model = golden.Model();
        var method = new DynamicVit
        {
            Keep = 0.7, Blocks = [0, 1], BackboneRate = 0.5, Frozen = 0.25, Packed = mode == "packed", TrainSteps = 4,
        };
        method.Apply(model.Graph);
        int t = 0;
        foreach (Tensor w in TokenPredictor.Find(model.Graph).SelectMany(f => f.Predictor.Weights))
        {
            for (int i = 0; i < w.Length; i++) w.Span[i] = (float)(0.5 * Math.Sin(0.37 * i + 1.3 * t) + (t % 10 == 0 ? 1 : 0));
            t++;
        }
        using Model before = model.Copy();
        var hook = new DynamicHook(method, model.Graph, before.Graph)
        {
            Noise = (step, stage, rows) =>
                [.. Enumerable.Range(0, rows).Select(r => (float)(2.5 * Math.Sin(1.7 * r + 0.9 * stage + 3.1 * (step - 1))))],
        };
        double[] losses = TinyGolden.Train(model, 0.05f, 4, hook);
        TinyGolden.Close(TinyGolden.Numbers(root.GetProperty("losses")), [.. losses.Select(l => (float)l)]);
        foreach (JsonProperty weight in root.GetProperty("weights").EnumerateObject())
            TinyGolden.Close(TinyGolden.Numbers(weight.Value), model.Graph.Weights[weight.Name].Tensor.Span);
        Assert.True(TinyGolden.Numbers(root.GetProperty("kept")[3])[1] < 8 * 4, "tokens were dropped");
    }

    /// <summary>The network stands still, also where it will learn at the predictors' rate, and its gradients do not shorten their steps.
    /// </summary>
    [Theory]
    [InlineData(1)]
    [InlineData(0.01)]
    public void Predictors_learn_alone_at_first(double backboneRate)
    {
        using Model model = TokenNets.Vit(classes: 10);
        var method = new DynamicVit { Keep = 0.7, BackboneRate = backboneRate, Frozen = 1, TrainSteps = 1 };
        method.Apply(model.Graph);
        using Model before = model.Copy();
        var hook = new DynamicHook(method, model.Graph, before.Graph);
        var task = new ClassifierTask(model, new ClassifierTaskOptions { Hooks = [hook] });
        Dictionary<string, float[]> first = model.Graph.Parameters.ToDictionary(p => p.Name, p => p.Value.ToArray());
        const float Limit = 1e-3f;
        new Trainer(task, CompressionJobs.Data(TokenNets.Small.ImageSize), new TrainOptions
        {
            Steps = 1, BatchSize = 16, DataThreads = 0, LearningRate = 1, Schedule = "constant", MaxGradNorm = Limit,
        }).Run();
        double moved = 0;
        foreach (var (name, value) in model.Graph.Parameters)
        {
            if (name.StartsWith("score_predictor.", StringComparison.Ordinal))
                moved += value.ToArray().Zip(first[name], (now, then) => Math.Pow(now - then, 2)).Sum();
            else Assert.Equal(first[name], value.ToArray());
        }
        Assert.Equal(Limit, Math.Sqrt(moved), 0.02 * Limit);
    }

    /// <summary>What was dropped stays dropped, whatever is drawn later.</summary>
    [Fact]
    public void Dropped_tokens_stay_dropped()
    {
        using var scope = new Scope();
        using Model model = TokenNets.Vit();
        new DynamicVit { Keep = 0.7 }.Apply(model.Graph);
        var training = new DynamicTraining(model.Graph, packed: false)
        {
            Noise = (stage, rows) => [.. Enumerable.Range(0, rows).Select(r => (r + stage) % 3 == 0 ? -1e9f : 1e9f)],
        };
        Graph part = training.Graph.Between(training.Graph.Inputs, training.Masks);
        float[][] masks = [.. part.Run([TokenNets.Images(2)]).Select(m => m.ToArray())];
        Assert.Equal(3, masks.Length);
        for (int row = 0; row < 34; row++)
        {
            bool stays = true;
            for (int s = 0; s < 3; s++)
            {
                stays &= row % 17 == 0 || (row + s) % 3 != 0;
                Assert.Equal(stays ? 1 : 0, masks[s][row]);
            }
        }
    }

    [Theory]
    [InlineData(null, false, 3)]
    [InlineData(null, true, 3)]
    [InlineData(0.5, false, 1)]
    public void All_readers_of_its_graph_agree(double? threshold, bool distilled, int batch)
    {
        using Model model = TokenNets.Vit(distilled);
        new DynamicVit { Keep = 0.7, Threshold = threshold }.Apply(model.Graph);
        Sharpen(model.Graph);
        TokenNets.CheckReaders(model, batch, "score_predictor.");
        using var scope = new Scope();
        Assert.InRange(DynamicTraining.Difference(model.Graph, TokenNets.Images(5)), 0, 2e-5f);
        if (threshold is null) return;
        var lengths = new List<int>();
        model.Graph.Run([TokenNets.Images(5)], look: (v, x) =>
        {
            if (v.Producer!.Op is KeepRowsOp) lengths.AddRange(Enumerable.Range(0, 5).Select(x.Rows!.Length));
        });
        Assert.True(lengths.Take(5).Distinct().Count() > 1, $"images decide how many tokens stay: {string.Join(',', lengths)}");
    }

    /// <summary>A threshold that nothing reaches leaves the class token alone, which still answers.</summary>
    [Fact]
    public void An_image_may_lose_all_its_patches()
    {
        using Model model = TokenNets.Vit();
        new DynamicVit { Keep = 0.7, Threshold = 0.999 }.Apply(model.Graph);
        TokenNets.CheckReaders(model, 1, "score_predictor.");
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void A_job_ends_with_a_network_that_is_told_nothing_else(bool packed, bool byThreshold)
    {
        using Model model = TokenNets.Vit(classes: 10);
        long before = model.Graph.CostPerImage.MultiplyAdds;
        CompressionJob job = CompressionJobs.Job(model, new DynamicVit
        {
            TargetFlops = 0.7, TrainSteps = 6, Packed = packed, Threshold = byThreshold ? 0.6 : null,
            Training = new TrainOptions { LearningRate = 1e-2f },
        });
        float[] head = model.Graph.Weights["head.weight"].Tensor.ToArray();
        float[] position = model.Graph.Weights["transformer.embeddings.position_embeddings"].Tensor.ToArray();
        job.Run();
        if (!byThreshold) Assert.InRange(model.Graph.CostPerImage.MultiplyAdds, 1, 0.7 * before);
        Assert.NotEqual(head, model.Graph.Weights["head.weight"].Tensor.ToArray());
        Assert.Equal(position, model.Graph.Weights["transformer.embeddings.position_embeddings"].Tensor.ToArray());
        Assert.Equal(TransformerBlocks.Of(model.Graph).Blocks.Count, TokenNets.Small.NumLayers);
        Sharpen(model.Graph);
        TokenNets.CheckReaders(model, byThreshold ? 1 : 3, "score_predictor.");
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Goes_on_where_it_stopped(bool packed)
    {
        var (whole, resumed) = StoppedJob.Run(() => CompressionJobs.Model(CompressionJobs.TinyVit, 8), new DynamicVit
        {
            Keep = 0.6, TrainSteps = 5, Packed = packed, Frozen = 0.5, Training = new TrainOptions { LearningRate = 0.01f, Optimizer = "adamw" },
        });
        Assert.Equal(whole.Keys, resumed.Keys);
        Assert.All(whole, w => Assert.Equal(w.Value, resumed[w.Key]));
    }

    [Fact]
    public void Refuses_what_cannot_be_before_the_first_step()
    {
        Refused("TrainSteps is 0", new DynamicVit { Keep = 0.7 }, _ => { });
        Refused("leave TrainOnly out", new DynamicVit { Keep = 0.7, TrainSteps = 1, Training = new TrainOptions { TrainOnly = ["head"] } },
            _ => { });
        Refused("they rise from 0 to at most 3", new DynamicVit { Keep = 0.7, Blocks = [3, 4], TrainSteps = 1 }, _ => { });
        Refused("cannot leave", new DynamicVit { TargetFlops = 0.05, TrainSteps = 1 }, _ => { });
        Refused("drops tokens already", new DynamicVit { Keep = 0.7, TrainSteps = 1 },
            graph => ((TokenMethod)CompressionMethods.Get("topk").Set("keep", "0.5")).Apply(graph));
        Refused("drops tokens already", new DynamicVit { Keep = 0.7, TrainSteps = 1 }, new DynamicVit { Keep = 0.5 }.Apply);
        Refused("attention with a bias", new DynamicVit { Keep = 0.7, TrainSteps = 1 }, graph =>
        {
            GraphNode first = graph.Nodes.First(n => n.Op is AttentionOp);
            var op = (AttentionOp)first.Op;
            graph.Replace(first, t => F.Attention(t[0], t[1], t[2], op.Heads, op.Scale, F.Sum(t[0], 1)));
        });
        foreach (var (name, value) in new[] { ("keep", "0"), ("keep", "1.5"), ("threshold", "1"), ("blocks", "3+1"), ("frozen", "2") })
            Assert.Throws<EspalierException>(() => new DynamicVit().Set(name, value));
        var set = (DynamicVit)new DynamicVit().Set("keep", "0.8").Set("threshold", "0.4").Set("blocks", "1+3").Set("packed", "yes");
        Assert.Equal((0.8, 0.4, "1,3", true), (set.Keep, set.Threshold, string.Join(',', set.Blocks!), set.Packed));

        static void Refused(string message, DynamicVit method, Action<Graph> change)
        {
            using Model model = TokenNets.Vit(classes: 10);
            change(model.Graph);
            int nodes = model.Graph.Nodes.Count;
            CompressionJob job = CompressionJobs.Job(model, method);
            Assert.Contains(message, Assert.Throws<EspalierException>(job.Run).Message, StringComparison.Ordinal);
            Assert.Empty(job.Stages);
            Assert.Equal(nodes, model.Graph.Nodes.Count);
        }
    }

    /// <summary>It would be trained with a mean over dropped tokens as well, and used without them.</summary>
    [Theory]
    [InlineData(VitPool.Mean)]
    [InlineData(VitPool.ClassAndMean)]
    public void Refuses_heads_that_read_the_patches(VitPool pool)
    {
        using Model model = TokenNets.Vit(classes: 10, form: new VitForm { Pool = pool });
        CompressionJob job = CompressionJobs.Job(model, new DynamicVit { Keep = 0.7, TrainSteps = 1 });
        Assert.Contains("reads the patches", Assert.Throws<EspalierException>(job.Run).Message, StringComparison.Ordinal);
        Assert.Empty(job.Stages);
    }

    /// <summary>Predictors that tell tokens apart by more than what rounding can turn.</summary>
    private static void Sharpen(Graph graph)
    {
        var rng = new Rng(5);
        foreach (var (predictor, _) in TokenPredictor.Find(graph))
            foreach (Tensor w in predictor.Weights) Init.Normal(w, 0.7f, ref rng);
    }

    private static Tensor Random(ulong seed, params int[] dims)
    {
        var rng = new Rng(seed);
        var x = new Tensor(new Shape(dims));
        Init.Normal(x, 1, ref rng);
        return x;
    }

    private static void Near(float[] expected, float[] actual, float tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++) Assert.Equal(expected[i], actual[i], tolerance);
    }
}
