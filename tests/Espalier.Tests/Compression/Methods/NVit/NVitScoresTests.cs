using Espalier.Compression;
using Espalier.Compression.Methods.NVit;
using Espalier.Data;
using Espalier.Formats;
using Espalier.Models;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

/// <summary>The numbers of the paper and of its code, and four steps against PyTorch.</summary>
public sealed class NVitScoresTests
{
    private static readonly VitConfig Tiny = new()
    {
        ImageSize = 8, PatchSize = 4, Channels = 1, HiddenSize = 12, MlpDim = 20, NumHeads = 3, NumLayers = 2, NumClasses = 4,
    };

    [Fact]
    public void A_score_is_the_square_of_a_sum_and_no_sum_of_squares()
    {
        Tensor w = Tensor.From(new Shape(2, 2), [1, -2, 0.5f, 4]), g = Tensor.From(new Shape(2, 2), [0.1f, 0.2f, -0.4f, 0.05f]);
        double[] sums = NVitUnits.Along(w, g, 0);
        Assert.Equal(-0.3, sums[0], 1e-6);
        Assert.Equal(0, sums[1], 1e-6);
        Assert.Equal(0.09, NVitUnits.Squared(sums[0], 1), 1e-6);
        Assert.Equal(0.0225, NVitUnits.Squared(sums[0], 2), 1e-6);
        Assert.Equal(0, NVitUnits.Squared(double.NaN, 1));
        double[] columns = NVitUnits.Along(w, g, 1);
        Assert.Equal(-0.1, columns[0], 1e-6);
        Assert.Equal(-0.2, columns[1], 1e-6);
    }

    [Fact]
    public void Groups_are_of_units_that_follow_one_another_in_importance()
    {
        (int[] Members, double Score)[] groups = [.. NVitChoice.Chunks([.5, .1, .9, .2, .05, .3, .7, .4], 2)];
        Assert.Equal([[4, 1], [3, 5], [7, 0], [6, 2]], groups.Select(x => x.Members));
        foreach (var (expected, group) in new[] { 0.15, 0.5, 0.9, 1.6 }.Zip(groups)) Assert.Equal(expected, group.Score, 1e-12);
    }

    [Fact]
    public void Scores_go_on_with_nine_tenths_of_what_they_were()
    {
        using Model model = Model.FromModule(new VisionTransformer(Tiny));
        using DependencyGraph graph = Graph(model);
        NVitUnits units = Units(model, graph);
        units.Layers[0].Score[3] = 0.04;
        units.Layers[0].Sum[3] = 0.10;
        units.Average(0.9);
        Assert.Equal(0.046, units.Layers[0].Score[3], 1e-12);
        Assert.Equal(0, units.Layers[0].Sum[3]);
    }

    [Theory]
    [InlineData(384, 6, 1536, 12, 20424)]
    [InlineData(12, 3, 20, 2, 74)]
    [InlineData(768, 12, 3072, 1, 768 + (39312 - 768) / 12)]
    public void Units_of_a_network(int width, int heads, int hidden, int blocks, int expected)
    {
        using Model model = Model.FromModule(new VisionTransformer(
            Tiny with { HiddenSize = width, NumHeads = heads, MlpDim = hidden, NumLayers = blocks, Distilled = true }));
        using DependencyGraph graph = Graph(model);
        Assert.Equal(expected, Units(model, graph).Count);
    }

    [Fact]
    public void Channels_of_the_stream_are_judged_by_both_layers_of_a_gated_MLP()
    {
        using Model model = Model.FromModule(new VisionTransformer(Tiny, form: new VitForm { GatedMlp = true }));
        using DependencyGraph graph = Graph(model);
        NVitLayer stream = Units(model, graph).Layers.Single(l => l.Kind == NVitKind.Embedding);
        foreach (string layer in new[] { "ffn.gate.weight", "ffn.fc1.weight" })
            Assert.Equal(Tiny.NumLayers, stream.Judged.Count(s => s.Axis == 1 && s.Name.EndsWith(layer, StringComparison.Ordinal)));
    }

    /// <summary>The published table of DeiT-B's blocks: savings of single units are slopes of it.</summary>
    [Fact]
    public void What_a_unit_saves_is_a_slope_of_the_times()
    {
        const double whole = 0.0808166, narrow = 0.0678710;
        double channel = NVitChoice.PerUnit(whole, narrow, 256);
        Assert.Equal(0.0743438, whole - 128 * channel, 1e-7);
        Assert.Equal(6.068e-4, 12 * channel, 1e-7);
        Assert.Equal(0.9697995, 12 * whole, 1e-6);
        foreach (var (share, seconds) in new[] { (0.54, 0.5236917), (0.5, 0.4848998), (0.39, 0.3782218), (0.19, 0.1842619) })
            Assert.Equal(seconds, share * 12 * whole, 1e-6);
        // Heads, queries and keys, values, hidden units: the widest step of each axis of the table, whose ends are as the savings
        // say.
        foreach (var (saving, units) in new[] { (2.512e-3, 3), (1.5e-4, 16), (1.143e-4, 16), (4.919e-6, 128) })
            Assert.Equal(saving, NVitChoice.PerUnit(whole, whole - units * saving, units), 1e-12);
    }

    /// <summary>Of layers that are worth the same the one goes that saves more; dead units never come again.</summary>
    [Fact]
    public void Time_decides_where_scores_do_not()
    {
        using Model model = Model.FromModule(new VisionTransformer(Tiny));
        using DependencyGraph graph = Graph(model);
        NVitUnits units = Units(model, graph);
        NVitLayer heads = units.Layers.First(l => l.Kind == NVitKind.Head);
        NVitLayer hidden = units.Layers.First(l => l.Kind == NVitKind.Hidden);
        double Seconds(RemovalPlan plan) => 10 - plan.Channels.GetValueOrDefault(heads.Group.Name, []).Length
            - 0.1 * plan.Channels.GetValueOrDefault(hidden.Group.Name, []).Length;
        var choice = new NVitChoice(units, plan => 1 - plan.Count / 74.0, seconds: Seconds, eta: 1);
        Assert.Equal([heads, heads], choice.InOrder().Take(2).Select(g => g.Layer));
        Assert.Equal([0, 1, 2], choice.InOrder().First(g => g.Layer == hidden).Units);
        units.Remove(choice.InOrder().Take(2), null);
        Assert.Equal(1, heads.Left);
        Assert.DoesNotContain(choice.InOrder(), g => g.Layer == heads);
        Assert.Equal(hidden, choice.InOrder()[0].Layer);
    }

    [Theory]
    [InlineData(176, "10 2 2 4 4 4 4 4 4 2 2 10", "16 8 8 16 16 16 16 16 16 8 8 16",
        "528 528 528 1056 1056 1056 1056 1056 1056 528 528 528")]
    [InlineData(384, "10 4 4 8 8 8 8 8 8 4 4 10", "32 16 16 32 32 32 32 32 32 16 16 32",
        "1152 1152 1152 2304 2304 2304 2304 2304 2304 1152 1152 1152")]
    public void The_rule_of_ReViT(int embed, string heads, string queries, string hidden)
    {
        string Of(NVitKind kind) => string.Join(' ', Enumerable.Range(0, 12).Select(i => NVitChoice.Width(kind, i, 12, embed)));
        Assert.Equal((heads, queries, hidden), (Of(NVitKind.Head), Of(NVitKind.QueryKey), Of(NVitKind.Hidden)));
        Assert.All(Enumerable.Range(0, 12), i => Assert.Equal(64, NVitChoice.Width(NVitKind.Value, i, 12, embed)));
        // In a network of half as many blocks each has the place of two.
        Assert.Equal(Enumerable.Range(0, 6).Select(i => NVitChoice.Width(NVitKind.Hidden, 2 * i + 1, 12, embed)),
            Enumerable.Range(0, 6).Select(i => NVitChoice.Width(NVitKind.Hidden, i, 6, embed)));
    }

    [Fact]
    public void Norms_of_what_is_left_go_on_as_if_all_were_there()
    {
        using var scope = new Scope();
        Tensor x = Tensor.From(new Shape(1, 3), [1, 2, 5]), one = Tensor.Full(new Shape(3), 1), none = Tensor.Zeros(new Shape(3));
        Close([-0.5345225f, 0, 1.6035672f], F.LayerNorm(x, one, none, 1e-12f, trainedWidth: 4));
        Close([-0.9805805f, -0.3922322f, 1.3728127f], F.LayerNorm(x, one, none, 1e-12f));

        static void Close(float[] expected, Tensor y)
        {
            for (int i = 0; i < 3; i++) Assert.Equal(expected[i], y.Span[i], 1e-5f);
        }
    }

    /// <summary>Between them nothing touches queries and keys but each other, nor values and what the projection reads.</summary>
    [Fact]
    public void Queries_and_keys_are_worth_the_same_and_values_as_much_as_what_reads_them()
    {
        using Model model = CompressionJobs.Model(CompressionJobs.TinyVit, 8);
        TransformerBlock block = TransformerBlocks.Of(model.Graph).Blocks[1];
        using var scope = new Scope();
        using var recording = new Recording();
        recording.Backward(F.CrossEntropy(model.Graph.Run(Images(6)), [0, 1, 2, 3, 4, 5]));
        double[] query = Rows(block.Query), key = Rows(block.Key), value = Rows(block.Value);
        double[] projection = Along(block.Projection.Operands[1]!, 1);
        Assert.True(query.Max(Math.Abs) > 1e-5 && value.Max(Math.Abs) > 1e-5);
        for (int i = 0; i < query.Length; i++)
        {
            Assert.Equal(query[i], key[i], 2e-6 + 1e-4 * query.Max(Math.Abs));
            Assert.Equal(value[i], projection[i], 2e-6 + 1e-4 * value.Max(Math.Abs));
        }

        static double[] Rows(GraphNode node) =>
            [.. Along(node.Operands[1]!, 0).Zip(Along(node.Operands[2]!, 0), (weight, bias) => weight + bias)];

        static double[] Along(GraphValue w, int axis) => NVitUnits.Along(w.Tensor, w.Tensor.Grad!, axis);
    }

    [Fact]
    public void Four_training_steps_give_PyTorchs_scores_masks_and_weights()
    {
        Checkpoint golden = CheckpointFile.Read(Path.Combine(AppContext.BaseDirectory, "Goldens", "NVit", "steps.safetensors"));
        using Model model = Model.FromModule(new VisionTransformer(Tiny));
        foreach (var (name, tensor) in model.Graph.Parameters) golden[$"first/{name}"].Data.CopyTo(tensor.Span);
        using DependencyGraph graph = Graph(model);
        NVitUnits units = Units(model, graph);
        var choice = new NVitChoice(units, plan => 1 - plan.Count / 74.0, seconds: Seconds, eta: 0.004);
        var hook = new NVitHook(units, choice, new NVit { Every = 1, TrainSteps = 4 }, target: 0.6);
        var task = new ClassifierTask(model, new ClassifierTaskOptions { Hooks = [hook] });
        using var optimizer = new Sgd(ParameterGroup.Of(model.Graph), momentum: 0.9f);
        for (int step = 1; step <= 4; step++)
        {
            using var scope = new Scope();
            var batch = new Batch(8, 64, null);
            golden["images"].Data.AsSpan((step - 1) * 512, 512).CopyTo(batch.Pixels);
            for (int i = 0; i < 8; i++) batch.Labels[i] = (int)golden["labels"].Data[(step - 1) * 8 + i];
            task.Step(batch, new StepContext(step, 4, 0, 0, 1, new Rng(1)) { Optimizer = optimizer });
            optimizer.Step(0.05f);
            foreach (var (_, parameter) in model.Graph.Parameters) parameter.ClearGrad();
            task.AfterStep(step);
        }
        for (int i = 0; i < units.Layers.Count; i++)
        {
            Assert.Equal(golden[$"gone/{i}"].Data.Select(x => x != 0), units.Layers[i].Gone);
            float[] scores = golden[$"score/{i}"].Data;
            for (int k = 0; k < scores.Length; k++) Assert.Equal(scores[k], units.Layers[i].Score[k], 1e-6 + 1e-3 * scores[k]);
        }
        foreach (var (name, tensor) in model.Graph.Parameters)
        {
            float[] expected = golden[$"last/{name}"].Data;
            for (int i = 0; i < expected.Length; i++)
                Assert.True(Math.Abs(expected[i] - tensor.Span[i]) < 1e-4f, $"{name}[{i}]: {tensor.Span[i]}, not {expected[i]}");
        }
        Assert.InRange(Removal.Apply(graph, units.Plan(), new RemovalOptions(MoveConstants: false)).Difference, 0, 1e-4f);

        double Seconds(RemovalPlan plan)
        {
            int Left(NVitKind kind, int block) => units.Layers.Single(l => l.Kind == kind && l.Block == block).Group is var g
                ? g.Count - plan.Channels.GetValueOrDefault(g.Name, []).Length : 0;
            int e = Left(NVitKind.Embedding, -1);
            return 50 * e + Enumerable.Range(0, 2).Sum(i => e * Left(NVitKind.Head, i) * 2
                * (Left(NVitKind.QueryKey, i) + Left(NVitKind.Value, i)) + 2 * e * Left(NVitKind.Hidden, i));
        }
    }

    private static DependencyGraph Graph(Model model)
    {
        using var scope = new Scope();
        return DependencyGraph.Build(model.Graph, Images(2), HeadView.Heads, HeadView.AllHeads);
    }

    private static Tensor Images(int count)
    {
        var images = new Tensor(new Shape(count, 1, 8, 8));
        var rng = new Rng(3);
        foreach (ref float x in images.Span) x = rng.NextFloat(-1, 1);
        return images;
    }

    private static NVitUnits Units(Model model, DependencyGraph graph) => NVitUnits.Of(model.Graph, graph, new SelectionOptions(),
        ChannelKind.Stream | ChannelKind.Heads | ChannelKind.QueryKey | ChannelKind.Value | ChannelKind.Hidden);
}
