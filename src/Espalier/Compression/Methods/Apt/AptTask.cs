using System.Globalization;
using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression.Methods.Apt;

/// <summary>
/// APT's training step, three streams on one batch:
/// <list type="number">
/// <item>observe: an unpruned pass gives p_old, the probability of the true class with every token;</item>
/// <item>self-pruned: every agent acts, tokens really go, and the classification loss trains backbone and head;</item>
/// <item>probe: for each agent one token an image is dropped; the sign of p_new - p_old is the target of that agent.</item>
/// </list>
/// The probes start from the features of the observing pass just where their token goes, and the suffixes of all agents'
/// probes run as one batch. Neither keeps a graph. Without dropout the first two streams are one up to the first token that
/// goes. Cost in forward passes for agents after blocks 2, 5 and 8 of 12: with nothing pruned 3 (4 with dropout) and less than
/// 1.5 for the suffixes; falling with pruning.
/// </summary>
public sealed class AptTask : ITrainingTask
{
    private readonly Model model;
    private readonly Apt options;
    private readonly AptPasses passes;
    private readonly float dropout, labelSmoothing;
    private readonly string identity;
    private AptBudget budget;
    private RunContext training = new(Training: true);
    private bool begun;

    /// <param name="model">With agents, see <see cref="TokenAgents"/>; the task sets its dropout.</param>
    public AptTask(Model model, Apt options, float dropout = 0, float labelSmoothing = 0)
    {
        options.Check();
        if (options.PaidBy == AgentReward.Agreement && options.Budget is null && options.RewardMargin <= 0)
        {
            throw new EspalierException("agents that are paid by agreement lose with every token, so that none would go: give a Budget, or "
                + "a RewardMargin above 0");
        }
        (this.model, this.options, this.dropout, this.labelSmoothing) = (model, options, dropout, labelSmoothing);
        passes = new AptPasses(model.Graph);
        model.Graph.SetDropout(dropout);
        identity = ModelIdentity.Of(model);
        var agents = passes.Agents.SelectMany(a => a.Weights).Select(w => w.Value).ToHashSet();
        ParameterGroups =
        [
            new ParameterGroup("backbone", [.. Graph.Parameters.Where(p => !agents.Contains(p.Value))]),
            new ParameterGroup("agents", [.. Graph.Parameters.Where(p => agents.Contains(p.Value))]),
        ];
        budget = NewBudget();
    }

    public Graph Graph => model.Graph;

    /// <summary>A token is dropped where p(prune) is greater than this; kept in the model when it is saved.</summary>
    /// <exception cref="EspalierException">The value is no number, and would keep every token in silence.</exception>
    public float Threshold
    {
        get => passes.Threshold;
        set => passes.Threshold = float.IsNaN(value) ? throw new EspalierException("the pruning threshold is not a number") : value;
    }

    /// <summary>"backbone" and "agents".</summary>
    public IReadOnlyList<ParameterGroup> ParameterGroups { get; }

    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        .. options.Identity(),
        ("Dropout", dropout.ToString(CultureInfo.InvariantCulture)),
        ("LabelSmoothing", labelSmoothing.ToString(CultureInfo.InvariantCulture)),
        ("Model", identity),
    ];

    /// <summary>What a budget moves.</summary>
    public double[] Seen
    {
        get
        {
            Begin();
            return budget.Numbers;
        }
        set
        {
            budget.Numbers = value;
            if (budget.Steers) Threshold = budget.Threshold;
        }
    }

    /// <summary>Keeps what a budget moves while a step runs.</summary>
    public Action BeforeStep()
    {
        Begin();
        (AptBudget kept, float threshold) = (budget.Copy(), Threshold);
        return () => (budget, Threshold) = (kept, threshold);
    }

    public IReadOnlyDictionary<string, double> Step(Batch batch, in StepContext context)
    {
        Tensor images = batch.ToTensor(model.Channels, model.ImageSize);
        training = context.Run;
        return context.Step <= options.PruneFrom * context.TotalSteps
            ? PlainStep(images, batch.Labels, context.GradientScale, context.Rng)
            : Step(images, batch.Labels, context.GradientScale, context.Rng);
    }

    /// <param name="images">[B, C, S, S].</param>
    /// <param name="labels">[B].</param>
    internal IReadOnlyDictionary<string, double> Step(Tensor images, int[] labels, float gradientScale, Rng rng)
    {
        Begin();
        Graph.Seed(ref rng);
        var log = new Dictionary<string, double>();
        AptPlainOutput observed;
        AptOutput pruned;
        if (dropout == 0) (pruned, observed) = TrainBoth(images, labels, gradientScale, log);
        else
        {
            observed = Observe(images, labels, gradientScale, log);
            pruned = SelfPruned(images, labels, observed, gradientScale, log);
        }
        TrainAgents(images, labels, observed, pruned, gradientScale, ref rng, log);

        double share = ComputeShare(pruned);
        budget.ObserveCompute(share);
        if (budget.Steers) Threshold = budget.Threshold;
        log["compute"] = share;
        log["threshold"] = Threshold;
        return log;
    }

    private AptBudget NewBudget() => new(passes.Agents.Count, options.RewardMargin, options.Budget, Threshold);

    /// <summary>
    /// The budget goes on from the threshold that the model has at the first step: it may have been read from a checkpoint
    /// after this task was made.
    /// </summary>
    private void Begin()
    {
        if (!begun) budget = NewBudget();
        begun = true;
    }

    /// <summary>Before the agents begin: the unpruned pass alone.</summary>
    private Dictionary<string, double> PlainStep(Tensor images, int[] labels, float scale, Rng rng)
    {
        Graph.Seed(ref rng);
        using var recording = new Recording();
        Tensor loss = F.CrossEntropy(passes.Plain(images, training).Logits, labels, labelSmoothing);
        recording.Backward(loss, scale);
        return new Dictionary<string, double> { ["loss"] = loss.Item() };
    }

    public EvaluationResult Evaluate(IEnumerable<Batch> batches)
    {
        SetKeepRule();
        using Session session = Session.Of(model);
        var prunedRun = new Evaluator(session);
        var plainRun = new Evaluator(session, Pruning.None);
        foreach (Batch batch in batches)
        {
            prunedRun.Run(batch);
            plainRun.Run(batch);
        }
        ModelEvaluation pruned = prunedRun.Mean, plain = plainRun.Mean;
        var scalars = new Dictionary<string, double>
        {
            ["accuracy"] = pruned.Accuracy,
            ["accuracy_unpruned"] = plain.Accuracy,
            ["loss"] = pruned.Loss,
            ["loss_unpruned"] = plain.Loss,
            ["compute"] = pruned.MultiplyAdds / session.DenseMultiplyAdds,
        };
        for (int i = 0; i < pruned.Tokens.Length; i++) scalars[$"tokens/{i}"] = pruned.Tokens[i];
        return new EvaluationResult(scalars, new Dictionary<string, double> { ["pruned"] = pruned.Accuracy, ["unpruned"] = plain.Accuracy });
    }

    public void SaveState(StateWriter state)
    {
        Begin();
        budget.Save(state);
    }

    public void LoadState(StateReader state)
    {
        Begin();
        budget.Load(state);
        if (budget.Steers) Threshold = budget.Threshold;
        // A run that is at its end already is not evaluated again.
        SetKeepRule();
    }

    public void SaveModel(string path)
    {
        SetKeepRule();
        model.Save(path);
    }

    /// <summary>Whoever uses the model from here on has the threshold of now.</summary>
    private void SetKeepRule() => model.SetKeepRule(KeepRule.AtLeast(-Threshold));

    /// <summary>Streams 0 and 1 without dropout: they share what comes before the first dropped token.</summary>
    private (AptOutput Pruned, AptPlainOutput Observed) TrainBoth(
        Tensor images, int[] labels, float scale, Dictionary<string, double> log)
    {
        using var scope = new Scope();      // what the backward pass needed is free for the probes
        using var recording = new Recording();
        var (pruned, observed) = passes.Both(images, training, recordPlain: options.PlainLoss > 0);
        Tensor loss = PrunedLoss(pruned, labels, observed, log);
        if (options.PlainLoss > 0)
            loss += PlainLoss(observed, labels, log) * options.PlainLoss;
        recording.Backward(loss, scale);
        Keep([.. pruned.AgentInputs, .. observed.AgentInputs], pruned.Logits, observed.Logits);
        return (pruned, observed);
    }

    /// <summary>Stream 1: the loss of the pruned model trains everything but the agents.</summary>
    private AptOutput SelfPruned(
        Tensor images, int[] labels, AptPlainOutput teacher, float scale, Dictionary<string, double> log)
    {
        using var scope = new Scope();
        using var recording = new Recording();
        AptOutput output = passes.Pruned(images, training);
        recording.Backward(PrunedLoss(output, labels, teacher, log), scale);
        Keep(output.AgentInputs, output.Logits);
        return output;
    }

    /// <summary>
    /// Stream 0: the unpruned pass. With a plain loss it is trained, too; where dropout would then disturb the rewards, they are
    /// observed in a pass of their own.
    /// </summary>
    private AptPlainOutput Observe(Tensor images, int[] labels, float scale, Dictionary<string, double> log)
    {
        AptPlainOutput? trained = null;
        if (options.PlainLoss > 0)
        {
            using var scope = new Scope();
            using var recording = new Recording();
            trained = passes.Plain(images, training);
            recording.Backward(PlainLoss(trained, labels, log), scale * options.PlainLoss);
            Keep(trained.AgentInputs, trained.Logits);
        }
        if (trained is not null && options.RewardDropout) return trained;
        return passes.Plain(images, Rewards);
    }

    private Tensor PrunedLoss(AptOutput output, int[] labels, AptPlainOutput teacher, Dictionary<string, double> log)
    {
        for (int i = 0; i < output.Steps.Count; i++)
            log[$"tokens/{i}"] = (double)output.Steps[i].Rows / labels.Length;
        Tensor loss = F.CrossEntropy(output.Logits, labels, labelSmoothing);
        log["loss"] = loss.Item();
        if (options.SelfDistill == 0) return loss;
        Tensor target;
        using (Recording.Pause()) target = F.Softmax(teacher.Logits);
        Tensor distilled = F.CrossEntropy(output.Logits, target);
        return loss * (1 - options.SelfDistill) + distilled * options.SelfDistill;
    }

    private Tensor PlainLoss(AptPlainOutput output, int[] labels, Dictionary<string, double> log)
    {
        Tensor loss = F.CrossEntropy(output.Logits, labels, labelSmoothing);
        log["plain_loss"] = loss.Item();
        return loss;
    }

    /// <summary>Lets what later streams need outlive the scope of this one; a tensor may be named twice.</summary>
    private static void Keep(IEnumerable<Tensor> rows, params Tensor[] logits)
    {
        foreach (Tensor tensor in rows.Concat(logits).ToHashSet()) tensor.Keep();
    }

    /// <summary>Stream 2, for all agents at once.</summary>
    private void TrainAgents(Tensor images, int[] labels, AptPlainOutput observed, AptOutput pruned, float scale, ref Rng rng,
        Dictionary<string, double> log)
    {
        int prefix = passes.PrefixTokens;
        var probes = new List<(int Agent, AptProbes Probe, int Reference)>();
        var references = new List<float[]> { AptRewards.Of(options.PaidBy, observed.Logits, labels, observed.Logits) };
        Tensor? packed = null;
        var slots = new List<int>();        // which probe or reference each stretch of images in the packed batch is
        for (int agent = 0; agent < passes.Agents.Count; agent++)
        {
            if (packed is not null) packed = passes.Part(agent, packed, Rewards);
            int reference = 0;
            Tensor context = observed.AgentInputs[agent];
            if (options.Acts || (options.Company == AgentContext.Pruned && agent > 0))
            {
                context = pruned.AgentInputs[agent];
                reference = references.Count;
                references.Add([]);
                if (!options.Acts) Join(context, -reference);
            }
            else if (RewardDropoutNeedsOwnPrefix)
            {
                context = passes.Plain(images, Rewards).AgentInputs[agent];
            }
            for (int k = 0; k < options.Probes; k++)
            {
                AptProbes probe = AptProbes.Pick(passes.Agents[agent], context, prefix, options, ref rng, Threshold);
                if (options.Acts && k == 0) Join(probe.Kept(), -reference);
                probes.Add((agent, probe, reference));
                Join(probe.Rows(), probes.Count - 1);
            }
        }

        float[] paid = AptRewards.Of(options.PaidBy, passes.Part(passes.Agents.Count, packed!, Rewards), labels, observed.Logits);
        var after = new float[probes.Count][];
        for (int s = 0; s < slots.Count; s++)
        {
            float[] p = paid[(s * labels.Length)..((s + 1) * labels.Length)];
            if (slots[s] < 0) references[-slots[s]] = p;
            else after[slots[s]] = p;
        }
        for (int i = 0; i < probes.Count; i++)
        {
            var (agent, probe, reference) = probes[i];
            using var recording = new Recording();
            Tensor? loss = probe.Loss(passes.Agents[agent], references[reference], after[i], budget.Margin(agent), out ProbeRewards rewards);
            if (loss is null) continue;
            recording.Backward(loss, scale / options.Probes);
            Add($"agent_loss/{agent}", loss.Item());
            Add($"agent_prune_label/{agent}", rewards.PruneShare);
            log[$"margin/{agent}"] = budget.Margin(agent);
            budget.ObserveRewards(agent, rewards.PruneShare, rewards.MeanAbsolute);
        }

        // All probes of an agent have the same images to drop from: all are counted or none.
        void Add(string name, double value) => log[name] = log.GetValueOrDefault(name) + value / options.Probes;

        void Join(Tensor rows, int slot)
        {
            using (Recording.Pause()) packed = packed is null ? rows : F.Concat(0, packed, rows);
            slots.Add(slot);
        }
    }

    /// <summary>The passes that rewards are computed from.</summary>
    private RunContext Rewards => new(Training: options.RewardDropout);

    /// <summary>With dropout in the rewards each probe pass of the published code draws its own masks from the first block on.</summary>
    private bool RewardDropoutNeedsOwnPrefix => options.RewardDropout && dropout > 0;

    /// <summary>Multiply-adds of the self-pruned pass over those of the dense model.</summary>
    private double ComputeShare(AptOutput output)
    {
        int images = output.Steps[0].Images;
        double sum = 0;
        for (int b = 0; b < images; b++) sum += passes.MultiplyAdds(output.TokensOf(b));
        return sum / images / passes.Dense;
    }
}
