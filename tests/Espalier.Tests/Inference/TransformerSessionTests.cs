using Espalier.Compression;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;
using Espalier.Tests.Models;

namespace Espalier.Tests.Inference;

[Collection("Workers")]
public sealed class TransformerSessionTests : IDisposable
{
    private readonly int threads = Workers.Threads;

    public void Dispose() => Workers.Threads = threads;

    [Theory]
    [InlineData(1, 1, false)]
    [InlineData(1, 2, false)]
    [InlineData(3, 2, false)]
    [InlineData(16, 1, false)]
    [InlineData(16, 2, false)]
    [InlineData(17, 2, false)]
    [InlineData(1, 2, true)]
    [InlineData(17, 2, true)]
    public void Logits_are_the_modules(int batch, int threads, bool distilled)
    {
        Workers.Threads = threads;
        using AgentModel model = SessionModel.New(distilled);
        using var session = new Session(model.Vit.Trace());
        float[] images = SessionModel.Images(batch), actual = new float[batch * SessionModel.Config.NumClasses];
        session.Run(images, batch, actual);
        using var scope = new Scope();
        SessionModel.AssertClose(model.Vit.Forward(SessionModel.Tensor(images, batch)).ToArray(), actual);
    }

    [Theory]
    [InlineData(1, 1, false)]
    [InlineData(1, 2, false)]
    [InlineData(3, 2, false)]
    [InlineData(16, 2, true)]
    [InlineData(17, 1, false)]
    [InlineData(17, 2, false)]
    public void Agents_drop_what_the_modules_do(int batch, int threads, bool distilled)
    {
        Workers.Threads = threads;
        using AgentModel model = SessionModel.New(distilled);
        using var session = new Session(model.Trace());
        float[] images = SessionModel.Images(batch), actual = new float[batch * SessionModel.Config.NumClasses];
        var trace = new TokenTrace(indices: true);
        session.Run(images, batch, actual, trace);
        using var scope = new Scope();
        PrunedPass expected = model.Forward(SessionModel.Tensor(images, batch));
        Assert.Equal(batch, trace.Images);
        for (int b = 0; b < batch; b++)
        {
            Assert.Equal(expected.TokensOf(b), trace.Counts(b).ToArray());
            int[][] kept = expected.KeptOf(b);
            for (int stage = 0; stage < kept.Length; stage++) Assert.Equal(kept[stage], trace.Kept(b, stage).ToArray());
        }
        Assert.True(trace.Counts(0)[^1] < trace.Counts(0)[0]);
        SessionModel.AssertClose(expected.Logits.ToArray(), actual);
    }

    [Fact]
    public void An_agent_after_the_last_block_sees_all_of_its_rows()
    {
        using AgentModel model = SessionModel.New(layers: [1, 4]);
        using var session = new Session(model.Trace());
        float[] images = SessionModel.Images(5), actual = new float[5 * SessionModel.Config.NumClasses];
        var trace = new TokenTrace(indices: true);
        session.Run(images, 5, actual, trace);
        using var scope = new Scope();
        PrunedPass expected = model.Forward(SessionModel.Tensor(images, 5));
        for (int b = 0; b < 5; b++) Assert.Equal(expected.KeptOf(b)[2], trace.Kept(b, 2).ToArray());
        SessionModel.AssertClose(expected.Logits.ToArray(), actual);
    }

    [Fact]
    public void An_image_gets_the_same_bits_from_any_number_of_lanes()
    {
        using AgentModel model = SessionModel.New();
        using var session = new Session(model.Trace());
        float[] images = SessionModel.Images(37);
        float[][] logits = [.. new[] { 1, 2, 3, 5 }.Select(count =>
        {
            Workers.Threads = count;
            var y = new float[37 * SessionModel.Config.NumClasses];
            session.Run(images, 37, y);
            return y;
        })];
        Assert.All(logits, y => Assert.Equal(logits[0], y));
    }

    [Theory]
    [InlineData(0.9)]
    [InlineData(0.5)]
    [InlineData(0.07)]
    [InlineData(1)]
    public void A_share_keeps_exactly_so_many_the_least_worthless_of_all(double share)
    {
        using AgentModel model = SessionModel.New();
        using var session = new Session(model.Trace());
        var trace = new TokenTrace(indices: true);
        float[] images = SessionModel.Images(6);
        session.Run(images, 6, new float[6 * SessionModel.Config.NumClasses], Pruning.KeepShare(share), trace);
        using var scope = new Scope();
        Tensor first = model.Vit.Block(0, model.Vit.Embed(SessionModel.Tensor(images, 6)));
        float[] p = model.Agents[0].PruneProbabilities(first);
        for (int b = 0; b < 6; b++)
        {
            int patches = SessionModel.Config.Tokens - 1;
            for (int stage = 1; stage < trace.Stages; stage++)
            {
                patches = (int)Math.Ceiling((decimal)share * patches);
                Assert.Equal(1 + patches, trace.Counts(b)[stage]);
                Assert.Equal(0, trace.Kept(b, stage)[0]);
            }
            int[] kept = trace.Kept(b, 1)[1..].ToArray(), all = [.. Enumerable.Range(1, SessionModel.Config.Tokens - 1)];
            float worst = kept.Max(t => p[first.Rows![b] + t]);
            Assert.All(all.Except(kept), t => Assert.True(p[first.Rows![b] + t] >= worst - 1e-5f));
        }
    }

    [Fact]
    public void Where_all_scores_are_equal_a_share_keeps_the_first()
    {
        using AgentModel model = SessionModel.New();
        foreach (TokenAgent agent in model.Agents)
            foreach (var (name, value) in agent.Weights) if (name == "fc.weight") value.Fill(0);
        using var session = new Session(model.Trace());
        var trace = new TokenTrace(indices: true);
        session.Run(SessionModel.Images(1), 1, new float[SessionModel.Config.NumClasses], Pruning.KeepShare(0.25), trace);
        Assert.Equal(Enumerable.Range(0, 17), trace.Kept(0, 1).ToArray());
        Assert.Equal(Enumerable.Range(0, 5), trace.Kept(0, 2).ToArray());
    }

    [Fact]
    public void An_unpruned_run_of_a_model_with_agents_is_the_plain_model()
    {
        using AgentModel model = SessionModel.New();
        using var session = new Session(model.Trace());
        float[] images = SessionModel.Images(4), actual = new float[4 * SessionModel.Config.NumClasses];
        var trace = new TokenTrace();
        session.Run(images, 4, actual, Pruning.None, trace);
        Assert.Equal([SessionModel.Config.Tokens], trace.Counts(3).ToArray());
        Assert.Equal(model.Vit.CountMultiplyAdds(), session.MultiplyAdds(trace.Counts(3)));
        using var scope = new Scope();
        SessionModel.AssertClose(model.Vit.Forward(SessionModel.Tensor(images, 4)).ToArray(), actual);
    }

    /// <summary>What stands behind agents keeps its own rule, and its fused row.</summary>
    [Fact]
    public void A_rule_that_is_given_is_for_agents_and_for_no_other_place()
    {
        using AgentModel model = SessionModel.New(layers: [0]);
        ((TokenMethod)CompressionMethods.Get("evit").Set("keep", "0.5").Set("blocks", "3")).Apply(model.Model.Graph);
        float[] images = SessionModel.Images(6), actual = new float[6 * SessionModel.Config.NumClasses];
        var trace = new TokenTrace();
        using (var session = new Session(model.Trace()))
        {
            Assert.Equal("the model's own rules", session.Pruning.ToString());
            session.Pruning = Pruning.KeepShare(0.75);
            session.Run(images, 6, actual, trace);
        }
        // Of 64 patches 48, of these 24, and one of the others.
        for (int b = 0; b < 6; b++) Assert.Equal([65, 49, 26], trace.Counts(b).ToArray());

        model.Model.SetKeepRule(KeepRule.Share(0.75));
        Assert.True(Assert.Single(model.Model.Graph.Nodes.Select(n => n.Op).OfType<KeepRowsOp>(), k => k.Rule == KeepRule.Share(0.5)).Fuse);
        using var scope = new Scope();
        SessionModel.AssertClose(model.Model.Graph.Run(SessionModel.Tensor(images, 6)).ToArray(), actual);
        using var whole = new Session(model.Trace());
        whole.Run(images, 6, actual, Pruning.None, trace);
        Assert.Equal([65], trace.Counts(0).ToArray());
        SessionModel.AssertClose(model.Plain(SessionModel.Tensor(images, 6)).ToArray(), actual);
    }

    /// <summary>A threshold of agents would keep every token of a ranking.</summary>
    [Fact]
    public void Without_agents_a_threshold_is_refused_where_numbers_of_tokens_stay()
    {
        using AgentModel model = SessionModel.New(layers: []);
        ((TokenMethod)CompressionMethods.Get("topk").Set("keep", "0.5").Set("blocks", "1")).Apply(model.Model.Graph);
        using var session = new Session(model.Trace());
        Assert.Contains("has no agents", Assert.Throws<EspalierException>(() => session.Pruning = Pruning.Threshold(0.5f)).Message);
        Assert.Equal(Pruning.By(KeepRule.Share(0.5)), session.Pruning);
        Assert.Contains("has no agents", Assert.Throws<EspalierException>(() => model.Model.SetKeepRule(KeepRule.AtLeast(-0.5f))).Message);
        Assert.Equal(Pruning.By(KeepRule.Share(0.5)), Pruning.Of(model.Model.Graph));
    }

    [Fact]
    public void A_warm_call_allocates_nothing_for_any_depth_and_batch()
    {
        Workers.Threads = 2;
        foreach (var (depth, batch) in new[] { (5, 2), (5, 40), (9, 40) })
        {
            using AgentModel model = SessionModel.New(depth: depth);
            using var session = new Session(model.Trace());
            float[] images = SessionModel.Images(batch), logits = new float[batch * SessionModel.Config.NumClasses];
            var trace = new TokenTrace(indices: true);
            Allocations.AssertNone(() => session.Run(images, batch, logits, trace));
        }
    }

    [Theory]
    [InlineData(Precision.Bf16, 0.05)]
    [InlineData(Precision.Int8, 0.2)]
    public void Lower_precision_rounds_and_takes_less_memory(Precision precision, double tolerance)
    {
        if (KernelInfo.For(precision).Name is null) return;
        using AgentModel model = SessionModel.New();
        using Session exact = new(model.Vit.Trace()), lower = new(model.Vit.Trace(), new SessionOptions { Precision = precision });
        Assert.Equal(precision, lower.Precision);
        float[] images = SessionModel.Images(3), expected = new float[3 * SessionModel.Config.NumClasses];
        float[] actual = new float[expected.Length];
        exact.Run(images, 3, expected);
        lower.Run(images, 3, actual);
        Assert.NotEqual(expected, actual);
        SessionModel.AssertClose(expected, actual, tolerance);
        Assert.True(lower.WeightBytes < exact.WeightBytes, $"{lower.WeightBytes} of {exact.WeightBytes}");
    }

    [Theory]
    [InlineData(VitStem.ResNet50)]
    [InlineData(VitStem.Convolutions)]
    public void A_hybrid_goes_through_its_stem(VitStem stem)
    {
        VitConfig config = new()
        {
            ImageSize = 32, PatchSize = 1, Channels = 3, HiddenSize = 16, MlpDim = 24, NumHeads = 2, NumLayers = 2, NumClasses = 3,
            Stem = stem,
        };
        using var vit = new VisionTransformer(config);
        vit.Training = false;
        SessionModel.Shuffle(vit);
        using var session = new Session(vit.Trace());
        float[] images = SessionModel.Images(9, config), actual = new float[9 * 3];
        session.Run(images, 9, actual);
        using var scope = new Scope();
        SessionModel.AssertClose(vit.Forward(SessionModel.Tensor(images, 9, config)).ToArray(), actual, 1e-3);
    }

    /// <summary>Heads and hidden units that are gone, in each block others.</summary>
    [Theory]
    [InlineData(Precision.Fp32, 1e-4)]
    [InlineData(Precision.Bf16, 0.05)]
    [InlineData(Precision.Int8, 0.2)]
    public void Blocks_may_have_widths_of_their_own(Precision precision, double tolerance)
    {
        if (KernelInfo.For(precision).Name is null) return;
        using AgentModel model = SessionModel.New();
        int d = SessionModel.Config.HiddenSize, each = d / SessionModel.Config.NumHeads;
        Dictionary<string, Tensor> weights = model.StateDict().ToDictionary(p => p.Name, p => p.Value);
        for (int i = 0; i < 5; i++)
        {
            int width = each * (1 + i % 3), hidden = 7 + 5 * i;
            string block = $"transformer.encoder.layer.{i}.";
            foreach (string part in new[] { "query", "key", "value" }) Cut($"{block}attn.{part}", width, d);
            Cut($"{block}attn.out", d, width);
            Cut($"{block}ffn.fc1", hidden, d);
            Cut($"{block}ffn.fc2", d, hidden);
        }
        using var session = new Session(model.Trace(), new SessionOptions { Precision = precision });
        float[] images = SessionModel.Images(5), actual = new float[5 * SessionModel.Config.NumClasses];
        session.Run(images, 5, actual, Pruning.None);
        using var scope = new Scope();
        SessionModel.AssertClose(model.Trace().Run(SessionModel.Tensor(images, 5), new RunContext(Keep: KeepRule.All)).ToArray(), actual, tolerance);

        void Cut(string layer, int outputs, int inputs)
        {
            Tensor weight = weights[layer + ".weight"], bias = weights[layer + ".bias"];
            using Tensor fewer = Tensor.Unscoped(new Shape(outputs, inputs)), shorter = Tensor.Unscoped(new Shape(outputs));
            for (int o = 0; o < outputs; o++) weight.Span.Slice(o * weight.Shape[1], inputs).CopyTo(fewer.Span[(o * inputs)..]);
            bias.Span[..outputs].CopyTo(shorter.Span);
            weight.Exchange(fewer);
            bias.Exchange(shorter);
        }
    }

    /// <summary>A ReLU that goes into the layer that reads it leaves the GELU behind that layer where it is.</summary>
    [Fact]
    public void A_layer_between_a_relu_and_a_gelu_keeps_both()
    {
        var net = new GraphNet();
        GraphNet.AssertSame(net.Trace(x =>
        {
            Tensor rows = net.Norm(net.Embed(x, 16), "first");
            return net.Classify(net.Linear(F.Gelu(net.Linear(F.Relu(rows), "a", 32)), "b", 16));
        }, 2, 3, 8, 8));
    }

    /// <summary>Rows whose layer has codes on both sides, a residual, and an activation behind the sum.</summary>
    [Fact]
    public void A_layer_of_codes_keeps_the_activation_behind_its_sum()
    {
        var net = new GraphNet();
        GraphNet.AssertSame(net.Trace(x =>
        {
            Tensor rows = net.Embed(x, 16), w = F.Quantise(net["a.weight", 16, 16], Filled("steps", 0.01f), null, -127, 127);
            Tensor codes = F.Quantise(rows, Filled("step", 0.04f), Filled("zero", 110), 0, 255);
            return net.Classify(F.Relu(F.Add(F.Linear(codes, w, net["a.bias", 16]), rows)));
        }, 2, 3, 8, 8), tolerance: 0.02);

        Tensor Filled(string name, float value)
        {
            Tensor t = net[name, 1];
            t.Fill(value);
            return t;
        }
    }

    /// <summary>A trace that is used again has nothing left of the run before.</summary>
    [Fact]
    public void A_trace_begins_anew()
    {
        var trace = new TokenTrace();
        trace.Begin(2, 1, 10);
        trace.Note(1, 0, [0, 1, 2]);
        Assert.Equal([3], trace.Counts(1).ToArray());
        trace.Begin(2, 1, 10);
        Assert.Equal([0], trace.Counts(1).ToArray());
    }

    [Fact]
    public void What_makes_no_sense_is_refused()
    {
        using AgentModel model = SessionModel.New();
        using var session = new Session(model.Vit.Trace());
        Assert.Contains("no agents", Assert.Throws<EspalierException>(() => session.Pruning = Pruning.KeepShare(0.5)).Message);
        Assert.Throws<ArgumentException>(() => session.Run(new float[7], 1, new float[SessionModel.Config.NumClasses]));
        Assert.Throws<ArgumentException>(() => session.Run(SessionModel.Images(1), 1, new float[1]));
        Assert.Throws<EspalierException>(() => Pruning.KeepShare(0));
        Assert.Throws<EspalierException>(() => Pruning.KeepShare(1.01));
        Assert.Throws<EspalierException>(() => Pruning.Threshold(float.NaN));
        session.Run([], 0, []);
    }
}
