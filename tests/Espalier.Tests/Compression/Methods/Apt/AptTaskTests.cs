using Espalier.Compression;
using Espalier.Compression.Methods.Apt;
using Espalier.Data;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Tests.Compression.Methods;

public sealed class AptTaskTests
{
    private static readonly VitConfig Config = new()
    {
        ImageSize = 28, PatchSize = 7, Channels = 1, HiddenSize = 16, MlpDim = 32, NumHeads = 2, NumLayers = 4, NumClasses = 10,
        PruneLayers = [0, 2],
    };

    [Fact]
    public void With_a_zero_head_every_reward_is_zero_and_every_label_keep()
    {
        using Model model = NewModel(randomHead: false);
        var log = Step(model, new Apt());
        Assert.Equal(0, log["agent_prune_label/0"]);
        Assert.Equal(0, log["agent_prune_label/1"]);
    }

    [Fact]
    public void The_classification_loss_trains_no_agent_and_the_agents_loss_no_backbone()
    {
        using Model model = NewModel(randomHead: true);
        Step(model, new Apt());
        var both = Gradients(model);
        ClearGrads(model);

        // The same loss without any agent's training: a pruned pass alone.
        using (var scope = new Scope())
        using (var recording = new Recording())
        {
            recording.Backward(F.CrossEntropy(new AptPasses(model.Graph).Pruned(Images(), new RunContext(Training: true)).Logits, Labels));
        }
        var classification = Gradients(model);
        foreach (var (name, gradient) in both)
        {
            if (name.Contains("clip_layer", StringComparison.Ordinal))
            {
                Assert.DoesNotContain(name, classification.Keys);
                Assert.Contains(gradient, g => g != 0);
            }
            else
            {
                Assert.Equal(classification[name], gradient);
            }
        }
    }

    [Fact]
    public void A_plain_loss_adds_its_gradient()
    {
        using Model model = NewModel(randomHead: true);
        model.SetKeepRule(KeepRule.AtLeast(-1));       // nothing is pruned: both losses are the same
        var log = Step(model, new Apt { PlainLoss = 1 });
        var twice = Gradients(model);
        ClearGrads(model);
        Step(model, new Apt());
        var once = Gradients(model);
        Assert.Equal(log["loss"], log["plain_loss"], 1e-6);
        for (int i = 0; i < once["head.weight"].Length; i++)
            Assert.Equal(2 * once["head.weight"][i], twice["head.weight"][i], 1e-5f);
    }

    [Fact]
    public void A_teacher_that_agrees_adds_no_gradient_and_the_label_only_its_part()
    {
        using Model model = NewModel(randomHead: true);
        model.SetKeepRule(KeepRule.AtLeast(-1));       // nothing is pruned: the pruned pass says what its teacher says
        Step(model, new Apt { SelfDistill = 1 });
        float teacher = Gradients(model)["head.weight"].Max(MathF.Abs);
        ClearGrads(model);
        Step(model, new Apt { SelfDistill = 0.25f });
        float[] mixed = Gradients(model)["head.weight"];
        ClearGrads(model);
        Step(model, new Apt());
        float[] label = Gradients(model)["head.weight"];
        Assert.True(teacher < 1e-6f, $"{teacher}");
        for (int i = 0; i < label.Length; i++) Assert.Equal(0.75f * label[i], mixed[i], 1e-5f);
    }

    [Fact]
    public void Before_the_agents_begin_only_the_backbone_is_trained()
    {
        using Model model = NewModel(randomHead: true);
        using var scope = new Scope();
        var task = new AptTask(model, new Apt { PruneFrom = 0.5f });
        Assert.DoesNotContain("agent_loss/0", task.Step(Pictures(), new StepContext(5, 10, 0, 0, 1, new Rng(1))).Keys);
        Assert.DoesNotContain(Gradients(model).Keys, name => name.Contains("clip_layer", StringComparison.Ordinal));
        Assert.Contains("agent_loss/0", task.Step(Pictures(), new StepContext(6, 10, 0, 0, 1, new Rng(1))).Keys);
    }

    [Fact]
    public void A_budget_pays_by_agreement_where_nothing_else_is_said()
    {
        Assert.Equal((AgentReward.TrueClass, AgentContext.Plain), Resolved(new Apt()));
        Assert.Equal((AgentReward.Agreement, AgentContext.Acting), Resolved(new Apt { Budget = 0.5f }));
        Assert.Equal((AgentReward.TrueClass, AgentContext.Plain), Resolved(Apt.FromScratch with { Budget = 0.5f }));
        Assert.Equal((AgentReward.TrueClass, AgentContext.Plain), Resolved(Apt.Faithful with { Budget = 0.5f }));

        static (AgentReward, AgentContext) Resolved(Apt apt) => (apt.PaidBy, apt.Company);
    }

    [Fact]
    public void Agreement_that_could_drop_nothing_is_refused()
    {
        using Model model = NewModel(randomHead: true);
        Assert.Contains("Budget", Assert.Throws<EspalierException>(
            () => new AptTask(model, new Apt { Reward = AgentReward.Agreement })).Message);
    }

    [Fact]
    public void Backbone_and_agents_are_groups_of_their_own()
    {
        using Model model = NewModel(randomHead: true);
        var task = new AptTask(model, new Apt());
        Assert.Equal(["backbone", "agents"], task.ParameterGroups.Select(g => g.Name));
        Assert.Equal(model.ParameterCount, task.ParameterGroups.Sum(g => g.Parameters.Sum(p => p.Value.Length)));
        Assert.All(task.ParameterGroups[1].Parameters, p => Assert.Contains("clip_layer", p.Name, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(AgentContext.Plain)]
    [InlineData(AgentContext.Pruned)]
    [InlineData(AgentContext.Acting)]
    public void Every_context_trains_both_agents(AgentContext context)
    {
        using Model model = NewModel(randomHead: true);
        var log = Step(model, new Apt { Context = context, Probes = 3 });
        Assert.True(log["agent_loss/0"] > 0 && log["agent_loss/1"] > 0);
    }

    [Fact]
    public void An_agent_with_nothing_left_to_prune_is_not_trained()
    {
        using Model model = NewModel(randomHead: true);
        model.SetKeepRule(KeepRule.AtLeast(1));      // the first agent drops everything but the class token
        var log = Step(model, new Apt { Context = AgentContext.Pruned });
        Assert.Contains("agent_loss/0", log.Keys);
        Assert.DoesNotContain("agent_loss/1", log.Keys);
        Assert.Equal(1, log["tokens/1"]);
    }

    [Fact]
    public void A_large_margin_labels_every_token_worthless()
    {
        using Model model = NewModel(randomHead: true);
        Assert.Equal(1, Step(model, new Apt { RewardMargin = 1 })["agent_prune_label/0"]);
        Assert.Equal(0, Step(model, new Apt { RewardMargin = -1 })["agent_prune_label/0"]);
    }

    [Fact]
    public void The_log_is_the_mean_over_an_agents_probes()
    {
        using Model model = NewModel(randomHead: true);
        // Without exploration all probes of an agent drop the same token.
        double one = Step(model, new Apt { Exploration = 0 })["agent_loss/0"];
        Assert.Equal(one, Step(model, new Apt { Exploration = 0, Probes = 3 })["agent_loss/0"], 1e-6);
    }

    [Fact]
    public void Options_that_make_no_sense_are_refused()
    {
        using Model model = NewModel(randomHead: false);
        Apt[] wrong =
        [
            new() { Probes = 0 }, new() { Exploration = 1.5f }, new() { Exploration = float.NaN },
            new() { PruneFrom = -0.1f }, new() { PruneFrom = float.NaN }, new() { PlainLoss = -1 },
            new() { PlainLoss = float.PositiveInfinity },
        ];
        foreach (Apt options in wrong) Assert.Throws<EspalierException>(() => Step(model, options));
    }

    /// <summary>As when a run goes on from a checkpoint, which is read after the task was made.</summary>
    [Fact]
    public void A_budget_begins_at_the_threshold_that_the_model_has_at_the_first_step()
    {
        using Model model = NewModel(randomHead: true);
        using var scope = new Scope();
        var task = new AptTask(model, new Apt { Budget = 0.5f });
        task.Threshold = 0.9f;
        Assert.Equal(0.9, task.Step(Images(), Labels, 1, new Rng(7))["threshold"], 0.02);
    }

    /// <summary>So that a run cannot go on with other options than it began with.</summary>
    [Fact]
    public void Its_identity_has_every_option_and_the_models_shape()
    {
        using Model model = NewModel(randomHead: true);
        string Of(Apt options, float dropout = 0) => string.Join(' ',
            new AptTask(model, options, dropout).Identity);
        Apt[] others =
        [
            new() { Exploration = 0.4f }, new() { RewardMargin = 0.1f }, new() { Budget = 0.5f }, new() { PlainLoss = 1 },
            new() { SelfDistill = 0.5f }, new() { PruneFrom = 0.1f }, new() { Context = AgentContext.Pruned }, new() { Probes = 2 },
            new() { RewardDropout = true }, new() { ExploreBatchRange = true },
            new() { Reward = AgentReward.Agreement, RewardMargin = 0.2f },
        ];
        // New agents' bias and places are in the model.
        Assert.Equal(new Apt().Settings.Count - 2, others.Length);
        string[] all = [.. others.Select(o => Of(o)), Of(new Apt()), Of(new Apt(), dropout: 0.1f)];
        Assert.Equal(all.Length, all.Distinct().Count());
        using Model heads = NewModel(randomHead: true, numHeads: 4);
        Assert.NotEqual(Of(new Apt()), string.Join(' ', new AptTask(heads, new Apt()).Identity));
    }

    [Fact]
    public void The_published_form_with_dropout_runs()
    {
        using Model model = NewModel(randomHead: true);
        Assert.True(Step(model, Apt.Faithful, dropout: 0.1f)["agent_loss/1"] > 0);
    }

    private static Batch Pictures()
    {
        using var loader = new DataLoader(Datasets.OpenSample().Train, ImagePipeline.Eval(28, 1), 6);
        return loader.Next();
    }

    private static int[] Labels => [0, 1, 2, 3, 4, 5];

    private static Tensor Images()
    {
        var rng = new Rng(9);
        var x = new Tensor(new Shape(6, 1, 28, 28));
        Init.Normal(x, 1, ref rng);
        return x;
    }

    private static Model NewModel(bool randomHead, int numHeads = 2)
    {
        var vit = new VisionTransformer(Config with { NumHeads = numHeads }, seed: 4);
        var rng = new Rng(11);
        if (randomHead) Init.Normal(vit.NamedParameters().Single(p => p.Name == "head.weight").Value, 0.3f, ref rng);
        Model model = Model.FromModule(vit);
        TokenAgents.Add(model, Config.PruneLayers, seed: 5);
        return model;
    }

    private static IReadOnlyDictionary<string, double> Step(Model model, Apt options, float dropout = 0)
    {
        using var scope = new Scope();
        var task = new AptTask(model, options, dropout);
        return task.Step(Images(), Labels, 1, new Rng(7));
    }

    private static void ClearGrads(Model model)
    {
        foreach (var (_, parameter) in model.Graph.Parameters) parameter.ClearGrad();
    }

    private static Dictionary<string, float[]> Gradients(Model model) =>
        model.Graph.Parameters.Where(p => p.Value.Grad is not null).ToDictionary(p => p.Name, p => p.Value.Grad!.ToArray());
}
