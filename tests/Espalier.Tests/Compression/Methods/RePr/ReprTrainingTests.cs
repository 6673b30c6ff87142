using Espalier.Compression;
using Espalier.Compression.Methods.RePr;
using Espalier.Data;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Training;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Tests.Compression.Methods;

public sealed class ReprTrainingTests
{
    /// <summary>Everything of a dropped channel is as the drop left it, bit for bit, under momentum and weight decay.</summary>
    [Theory]
    [InlineData("vanilla-c3", 0.25, "sgd")]
    [InlineData("cifar-vgg11", 0.125, "sgd")]
    [InlineData("resnet20", 0.25, "adamw")]
    [InlineData("resnet20", 0.25, "ranger")]
    public void AThinPhaseLeavesDroppedFiltersAlone(string network, double width, string optimizer)
    {
        using var trial = new Trial(network, width, optimizer);
        trial.Train(3);
        trial.Drop();
        (string Name, Tensor Tensor, int Axis, int[] Entries)[] parts = [.. trial.Slices()];
        float[][] before = [.. parts.Select(p => Values(p.Tensor, p.Axis, p.Entries))];
        float[] others = trial.Net.Parameters().First().ToArray();
        trial.Train(4);
        Assert.NotEqual(others, trial.Net.Parameters().First().ToArray());
        foreach (var (part, old) in parts.Zip(before))
        {
            Assert.Equal(old, Values(part.Tensor, part.Axis, part.Entries));
            foreach (var (name, state) in trial.Optimizer.State().Where(s => s.Name.EndsWith("/" + part.Name, StringComparison.Ordinal)))
                Assert.All(Values(state, part.Axis, part.Entries), v => Assert.True(v == 0, name));
        }
        Assert.Contains(parts, p => p.Name.EndsWith("weight", StringComparison.Ordinal));
    }

    /// <summary>
    /// Training with dropped filters is training without them: cut before or after the thin phase, the same network comes out.
    /// </summary>
    [Theory]
    [InlineData("vanilla-c3", 0.25)]
    [InlineData("cifar-vgg11", 0.125)]
    [InlineData("resnet20", 0.25)]
    public void AThinPhaseTrainsTheThinNetwork(string network, double width)
    {
        using Trial masked = new(network, width, "sgd"), cut = new(network, width, "sgd");
        masked.Train(2);
        cut.Train(2);
        masked.Drop();
        Assert.True(cut.Remove(cut.Optimizer).Difference < 1e-5f);
        masked.Train(3);
        cut.Train(3);
        RemovalReport report = masked.Remove(masked.Optimizer);
        Assert.True(report.Difference < 1e-5f, $"differs by {report.Difference}");
        float difference = Removal.Difference(masked.Logits(), cut.Logits());
        Assert.True(difference < 1e-4f, $"differs by {difference}");
    }

    [Theory]
    [InlineData("sgd", false)]
    [InlineData("adam", false)]
    [InlineData("lookahead", true)]
    public void RestoredFiltersAreOrthogonalAndNewToTheOptimiser(string optimizer, bool zeroReaders)
    {
        using var trial = new Trial("cifar-vgg11", 0.125, optimizer);
        trial.Train(3);
        ChannelGroup group = trial.Graph["feature.4"];              // 16 filters of 8 x 3 x 3: room for all
        Tensor weight = group.Slices[0].Tensor;
        int[] gone = trial.Plan.Channels[group.Name];
        float[][] old = [.. gone.Select(row => FilterWeights.Row(weight, row).ToArray())];
        DroppedFilters dropped = trial.Drop();
        trial.Train(2);
        float[] untouched = trial.Net.Descendants<Linear>().Last().Bias!.ToArray();
        var rng = new Rng(8);
        dropped.Restore(new OrthogonalFilters(clip: false, relax: false), zeroReaders, ref rng, trial.Optimizer);
        trial.Restored();

        float[][] rows = [.. Enumerable.Range(0, 16).Select(row => FilterWeights.Row(weight, row).ToArray())];
        double mean = rows.Where((_, row) => !gone.Contains(row)).Average(r => (double)TensorPrimitives.Norm<float>(r));
        foreach (int row in gone)
        {
            Assert.Equal(mean, TensorPrimitives.Norm<float>(rows[row]), 1e-4);
            foreach (float[] other in rows.Where((_, r) => r != row).Concat(old))
                Assert.Equal(0, TensorPrimitives.Dot<float>(rows[row], other), 1e-5f);
        }
        foreach (var (name, tensor, axis, entries) in trial.Slices(readers: true))
        {
            float[] values = Values(tensor, axis, entries);
            if (name.EndsWith("bias", StringComparison.Ordinal) || name.EndsWith("mean", StringComparison.Ordinal))
                Assert.All(values, v => Assert.Equal(0, v));
            if (name.EndsWith("var", StringComparison.Ordinal) || (tensor.Rank == 1 && name.EndsWith("weight", StringComparison.Ordinal)))
                Assert.All(values, v => Assert.Equal(1, v));
            if (axis == 1)
            {
                float bound = zeroReaders ? 0 : 1 / MathF.Sqrt(Init.Fans(tensor.Shape).In);
                // A reader's rows may have been dropped and made anew themselves.
                if (!trial.Slices().Any(s => s.Tensor == tensor)) Assert.All(values, v => Assert.InRange(v, -bound, bound));
            }
            foreach (var (state, kept) in trial.Optimizer.State().Where(s => s.Name.EndsWith("/" + name, StringComparison.Ordinal)))
            {
                float[] expected = state.StartsWith("slow", StringComparison.Ordinal) ? values : new float[values.Length];
                Assert.Equal(expected, Values(kept, axis, entries));
            }
        }
        Assert.Equal(untouched, trial.Net.Descendants<Linear>().Last().Bias!.ToArray());
        Assert.All(trial.Optimizer.Updates(), u => Assert.Equal(5, u));
        trial.Train(1);
        Assert.All(gone, row => Assert.NotEqual(rows[row], FilterWeights.Row(weight, row).ToArray()));
    }

    /// <summary>Ten times the gradients of all that makes a restored channel, and nobody else's.</summary>
    [Fact]
    public void RestoredFiltersCanLearnFaster()
    {
        using var trial = new Trial("resnet20", 0.25, "sgd");
        trial.Train(2);
        DroppedFilters back = trial.Drop();
        var rng = new Rng(8);
        back.Restore(new OrthogonalFilters(clip: false, relax: false), zeroReaders: false, ref rng, trial.Optimizer);
        trial.Restored();
        trial.Backward();
        float[][] plain = [.. trial.Net.Parameters().Select(p => p.Grad!.ToArray())], expected = [.. plain.Select(g => g.ToArray())];
        back.ScaleGradients(10);
        foreach (var (parameter, grad) in trial.Net.Parameters().Zip(expected))
            foreach (var (_, _, axis, entries) in trial.Slices().Where(s => s.Tensor == parameter))
                foreach (Range range in PlannedCuts.Elements(parameter.Shape, axis, entries))
                    TensorPrimitives.Multiply(grad.AsSpan(range), 10, grad.AsSpan(range));
        float[][] scaled = [.. trial.Net.Parameters().Select(p => p.Grad!.ToArray())];
        Assert.Equal(expected, scaled);
        Assert.NotEqual(plain, scaled);
    }

    /// <summary>The zero shortcut of a dropped branch: the stream keeps what it had, and the norm's shift does not leak.</summary>
    [Fact]
    public void ADroppedBranchAddsNothingToItsStream()
    {
        using var trial = new Trial("resnet20", 0.25, "sgd");
        ChannelGroup branch = ReprLayers.Find(trial.Graph, new SelectionOptions { Ratio = 0.3 }, branches: true, excludeFirst: false)
            .Single(g => g.Name == "layer1.1.conv2");
        ResidualBlock block = trial.Net.Descendants<ResidualBlock>().ElementAt(1);
        using var scope = new Scope();
        Tensor x = Tensor.Full(new Shape(2, 4, 8, 8), 0.5f);
        _ = new DroppedFilters([(branch, [1, 3])], null);
        foreach (bool training in new[] { true, false })
        {
            trial.Net.Training = training;
            Tensor y = block.Forward(x);
            for (int i = 0; i < y.Length; i++)
            {
                bool dropped = i / 64 % 4 is 1 or 3;
                if (dropped) Assert.Equal(0.5f, y.Span[i]);
            }
            Assert.Contains(y.ToArray(), v => v != 0.5f);
        }
    }

    private static float[] Values(Tensor tensor, int axis, int[] entries) =>
        [.. PlannedCuts.Elements(tensor.Shape, axis, entries).SelectMany(range => tensor.Span[range].ToArray())];

    /// <summary>A network in training, with a plan that drops every third filter of each layer.</summary>
    private sealed class Trial : IDisposable
    {
        private readonly ClassifierTask task;
        private readonly DataLoader loader;
        private DroppedFilters? dropped;
        private long step;

        public Trial(string network, double width, string optimizer)
        {
            Net = CompressionJobs.Net(network, width: width);
            Graph = DependencyGraph.Build(Net.Trace(), Tensor.Zeros(new Shape(2, 1, Net.ImageSize, Net.ImageSize)));
            foreach (ChannelGroup group in Graph.Groups.Where(g => !g.IsStream))
                Plan.Add(group, Enumerable.Range(0, group.Count).Where(k => k % 3 == 1));
            Optimizer = Optimizers.Create(optimizer, ParameterGroup.Of(Net), weightDecay: 0.01f);
            task = new ClassifierTask(Model.FromModule(Net), new ClassifierTaskOptions { Hooks = [new HoldHook(this)] });
            TrainingData data = CompressionJobs.Data(Net.ImageSize);
            loader = new DataLoader(data.Train, data.TrainPipeline, 16, shuffle: true, seed: 1, dropLast: true, threads: 0);
        }

        public Cnn Net { get; }

        public DependencyGraph Graph { get; }

        public RemovalPlan Plan { get; } = new();

        public Optimizer Optimizer { get; }

        public void Train(int steps)
        {
            for (int i = 0; i < steps; i++)
            {
                using var scope = new Scope();
                task.Step(loader.Next(), new StepContext(++step, 100, 0, 0, 1, new Rng((ulong)step)));
                GradientClip.ByGlobalNorm([.. Net.Parameters()], 1);
                Optimizer.Step(0.01f);
                Net.ClearGrads();
                task.AfterStep(step);
            }
        }

        /// <summary>A backward pass that no step follows.</summary>
        public void Backward()
        {
            using var scope = new Scope();
            task.Step(loader.Next(), new StepContext(++step, 100, 0, 0, 1, new Rng((ulong)step)));
        }

        public DroppedFilters Drop() =>
            dropped = new DroppedFilters([.. Plan.Channels.Select(c => (Graph[c.Key], c.Value))], Optimizer);

        public void Restored() => dropped = null;

        public RemovalReport Remove(Optimizer optimizer)
        {
            dropped = null;
            return Removal.Apply(Graph, Plan, new RemovalOptions(MoveConstants: false, optimizer));
        }

        /// <summary>The parts of all tensors that go with the plan's channels.</summary>
        public IEnumerable<(string Name, Tensor Tensor, int Axis, int[] Entries)> Slices(bool readers = false) =>
            from c in Plan.Channels
            from s in Graph[c.Key].Slices
            where readers || s.Role != ChannelRole.Consumer
            select (s.Name, s.Tensor, s.Axis, c.Value.SelectMany(k => s.Entries[k]).ToArray());

        public float[] Logits()
        {
            using var scope = new Scope();
            Net.Training = false;
            Tensor images = new(new Shape(4, 1, Net.ImageSize, Net.ImageSize));
            var rng = new Rng(17);
            foreach (ref float x in images.Span) x = rng.NextFloat(-1, 1);
            return Net.Forward(images).ToArray();
        }

        public void Dispose()
        {
            loader.Dispose();
            Optimizer.Dispose();
            Graph.Dispose();
            Net.Dispose();
        }

        private sealed class HoldHook(Trial trial) : ITrainingHook
        {
            public void AfterBackward(in StepContext context) => trial.dropped?.ClearGradients();

            public void AfterStep(long step) => trial.dropped?.Hold();
        }
    }
}
