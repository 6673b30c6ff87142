using System.Text.Json;
using Espalier.Compression;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Tests.Compression.Structure;

namespace Espalier.Tests.Compression.Timing;

/// <summary>What a table says of times; none of these tests depends on how long anything takes.</summary>
public sealed class TimeTableTests
{
    [Fact]
    public void A_family_follows_what_its_times_are_made_of()
    {
        var family = new TimeFamily();
        static double Truth(int a, int b) => 2e-6 + 3e-9 * a + 1e-9 * b + 5e-11 * a * b;
        foreach (int a in (int[])[16, 48, 96, 160, 256])
            foreach (int b in (int[])[16, 64, 128, 256]) family.Add(new TimePoint(1, a, b, 0), Truth(a, b));
        foreach (var (a, b) in new[] { (32, 32), (112, 208), (240, 16), (256, 256), (320, 320) })
            Assert.Equal(Truth(a, b), family.Of(new TimePoint(1, a, b, 0)), 1e-3 * Truth(a, b));
    }

    /// <summary>A quarter and a half of the way between 1, 3, 2 and 8; and what grows with the square of a width, of which a line between
    /// two points says 11 % too much.</summary>
    [Fact]
    public void Between_measured_points_by_hand()
    {
        var family = new TimeFamily();
        foreach (var (a, b, seconds) in new[] { (100, 100, 1.0), (100, 500, 3), (500, 100, 2), (500, 500, 8) })
            family.Add(new TimePoint(1, a, b, 0), seconds);
        Assert.Equal(2.75, family.Of(new TimePoint(1, 200, 300, 0)), 1e-3);

        var squares = new TimeFamily();
        foreach (int n in (int[])[16, 32, 64, 128]) squares.Add(new TimePoint(1, n, n, 0), 0.01 * n * n);
        foreach (int n in (int[])[24, 48, 96]) Assert.Equal(0.01 * n * n, squares.Of(new TimePoint(1, n, n, 0)), 1e-3 * n);
    }

    /// <summary>A kernel computes whole vectors, so that its time goes up in steps: exact where widths are rounded up as it does, which
    /// layers' points are; else 10 % and more off.</summary>
    [Fact]
    public void Steps_of_whole_vectors_are_exact_by_rounded_widths()
    {
        int vector = Map.WholeVectors(1);
        double Truth(int n) => 2 + 0.5 * ((n + vector - 1) / vector);
        var family = new TimeFamily();
        foreach (int n in (int[])[1, 2, 4, 8, 16]) family.Add(new TimePoint(1, n * vector, 0, 0), Truth(n * vector));
        int[] widths = [.. Enumerable.Range(vector + 1, 15 * vector - 1)];
        Assert.All(widths, n => Assert.Equal(Truth(n), family.Of(new TimePoint(1, Map.WholeVectors(n), 0, 0)), 1e-3));
        Assert.InRange(widths.Max(n => Math.Abs(family.Of(new TimePoint(1, n, 0, 0)) / Truth(n) - 1)), 0.1, 0.2);

        int Outputs(int channels)
        {
            using Tensor w = Tensor.Full(new Shape(channels, 3, 3, 3), 0.1f), v = Tensor.Full(new Shape(4, channels, 1, 1), 0.1f);
            Graph network = Graph.Trace(x => F.Conv2d(F.Relu(F.Conv2d(x, w)), v), new Shape(1, 3, 8, 8), [("w", w), ("v", v)]);
            return Plan.ShapeOf(network, Precision.Fp32, null).Layers[0].B;
        }
        Assert.Equal(2 * vector, Outputs(2 * vector - 1));
        Assert.Equal(Outputs(2 * vector), Outputs(vector + 1));
    }

    [Fact]
    public void What_was_measured_is_taken_as_it_is_and_neighbours_follow()
    {
        var family = new TimeFamily();
        for (int a = 16; a <= 256; a += 16) family.Add(new TimePoint(1, a, 0, 0), 1e-6 + 1e-8 * a);
        // A width that is slow for some reason: those beside it are taken to be slower than the model says, those far away are not.
        family.Add(new TimePoint(1, 512, 0, 0), 2 * (1e-6 + 1e-8 * 512));
        Assert.Equal(2 * (1e-6 + 1e-8 * 512), family.Of(new TimePoint(1, 512, 0, 0)));
        Assert.InRange(family.Of(new TimePoint(1, 528, 0, 0)) / (1e-6 + 1e-8 * 528), 1.5, 2.5);
        Assert.InRange(family.Of(new TimePoint(1, 20, 0, 0)) / (1e-6 + 1e-8 * 20), 0.9, 1.1);
        // Of several measurements the least stays: others were disturbed.
        family.Add(new TimePoint(1, 512, 0, 0), 1);
        Assert.Equal(2 * (1e-6 + 1e-8 * 512), family.Of(new TimePoint(1, 512, 0, 0)));
        Assert.Throws<InvalidOperationException>(() => new TimeFamily().Of(default));
    }

    [Fact]
    public void One_time_alone_is_all_that_is_known()
    {
        var family = new TimeFamily();
        family.Add(new TimePoint(1, 64, 64, 0), 1e-5);
        Assert.InRange(family.Of(new TimePoint(1, 32, 64, 0)), 0.2e-5, 1.1e-5);
    }

    [Fact]
    public void A_table_is_kept_in_a_file_and_a_damaged_one_is_empty()
    {
        string path = Path.Combine(Path.GetTempPath(), $"espalier-times-{Guid.NewGuid():N}", "times.json");
        try
        {
            TimeTable table = TimeTable.Open(path);
            table.Family("a").Add(new TimePoint(1, 2, 3, 4), 0.5);
            table.Family("b").Add(new TimePoint(1, 2, 0, 0), 0.25);
            table.Save();
            TimeTable again = TimeTable.Open(path);
            Assert.Equal(2, again.Count);
            Assert.Equal(0.5, again.Family("a").Of(new TimePoint(1, 2, 3, 4)));
            foreach (string text in new[] { "{", "[1]", """{"a":[[1,2,3,4,-5],[1],[1,2,3,4,1e999]]}""" })
            {
                File.WriteAllText(path, text);
                Assert.Equal(0, TimeTable.Open(path).Count);
            }
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
        }
    }

    [Fact]
    public void Errors_by_hand()
    {
        double[] errors = [0.01, -0.02, 0.03, 0.005, -0.04, 0.09, -0.01, 0.02, 0, 0.015];
        BlindErrors summed = BlindErrors.Of(errors);
        Assert.Equal((10, 0.0175, 0.09, 0.09), (summed.Count, Math.Round(summed.Typical, 6), summed.P95, summed.Worst));
        Assert.Equal(0.0075, summed.Median, 9);
        Assert.Equal(0.1, new BlindTime(1.1, 1).Error, 9);
        // Of 200 the 190th.
        Assert.Equal(190, BlindErrors.Of(Enumerable.Range(1, 200).Select(i => (double)i)).P95);
        Assert.Throws<ArgumentException>(() => BlindErrors.Of([]));
    }

    /// <summary>What a plan would be compiled to is known without cutting, and the network stays as it is.</summary>
    [Fact]
    public void Shapes_without_cutting_are_those_of_the_cut_network()
    {
        using var net = new ToyNet(5);
        net.Training = false;
        Graph network = Graph.Trace(net.Forward, new Shape(2, 3, 6, 6), net.StateDict());
        Check(network, new Shape(2, 3, 6, 6), g => Enumerable.Range(0, Math.Max(1, g.Count / 3)));
        using var vit = new VisionTransformer(new VitConfig
        {
            ImageSize = 8, PatchSize = 4, Channels = 1, HiddenSize = 12, MlpDim = 20, NumHeads = 3, NumLayers = 2, NumClasses = 4,
        });
        Check(vit.Trace(), new Shape(2, 1, 8, 8), g => [0]);
        using Cnn lists = CnnPresets.Create(new CnnConfig("preresnet20") { ImageSize = 16, Width = 0.5 }, 1);
        lists.Training = false;
        Check(lists.Trace(), new Shape(2, lists.Channels, 16, 16), g => [0, 1]);
    }

    [Fact]
    public void The_table_of_a_network_is_measured_once()
    {
        using var net = new ToyNet(5);
        net.Training = false;
        Graph network = Graph.Trace(net.Forward, new Shape(2, 3, 6, 6), net.StateDict());
        using var scope = new Scope();
        using var graph = DependencyGraph.Build(network, Tensor.Full(new Shape(1, 3, 6, 6), 0.5f));
        float[] before = network.Run(Tensor.Full(new Shape(1, 3, 6, 6), 0.5f)).ToArray();
        var table = new TimeTable();
        ChannelGroup[] groups = [.. graph.Groups.Where(g => !g.IsStream)];
        var times = new NetworkTimes(graph, table, groups, batch: 3);
        Assert.False(times.IsKnown());
        Assert.True(times.Measure());
        Assert.True(times.IsKnown());
        Assert.True(new NetworkTimes(graph, table, groups, batch: 3).IsKnown());
        // Another number of images is another table.
        Assert.False(new NetworkTimes(graph, table, groups, batch: 40).IsKnown());
        double whole = times.Of(), part = times.Of(new RemovalPlan().Add(groups[0], 0, 1, 2));
        Assert.True(double.IsFinite(whole) && whole > 0 && double.IsFinite(part) && part > 0);
        BlindTime[] tried = [.. BlindTest.Run(graph, times, groups, 2)];
        Assert.All(tried, t => Assert.True(t.Predicted > 0 && t.Measured > 0));
        Assert.Equal(tried[1].Predicted, Assert.Single(BlindTest.Run(graph, times, groups, 2, first: 1)).Predicted);
        Assert.Equal(before, network.Run(Tensor.Full(new Shape(1, 3, 6, 6), 0.5f)).ToArray());
    }

    /// <summary>A table that was taken on a busy machine is noticed and taken again, and the log says so.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Stale_times_are_taken_again(bool whole)
    {
        using var net = new ToyNet(5);
        net.Training = false;
        Graph network = Graph.Trace(net.Forward, new Shape(2, 3, 6, 6), net.StateDict());
        using var scope = new Scope();
        using var graph = DependencyGraph.Build(network, Tensor.Full(new Shape(1, 3, 6, 6), 0.5f));
        ChannelGroup[] groups = [.. graph.Groups.Where(g => !g.IsStream)];
        string path = Path.Combine(Path.GetTempPath(), $"espalier-times-{Guid.NewGuid():N}.json");
        try
        {
            TimeTable table = TimeTable.Open(path);
            Assert.True(new NetworkTimes(graph, table, groups).Measure());
            double before = new NetworkTimes(graph, table, groups).Of();
            // The widest point of each family is the network's own: without it the network looks right and smaller ones do not.
            var times = JsonSerializer.Deserialize<Dictionary<string, double[][]>>(File.ReadAllText(path))!;
            foreach (double[][] family in times.Values)
                foreach (double[] point in family)
                    if (whole || point[1] < family.Max(p => p[1])) point[4] = 1 + 1000 * point[4];
            File.WriteAllText(path, JsonSerializer.Serialize(times));

            List<string> log = [];
            table = TimeTable.Open(path);
            if (whole) Assert.True(new NetworkTimes(graph, table, groups).Measure(log: log.Add));
            else
            {
                var scores = new ChannelScores();
                foreach (ChannelGroup group in groups) scores.Set(group, [.. Enumerable.Range(0, group.Count).Select(i => (double)i)]);
                try
                {
                    new TimedSelection(log.Add, default, table).Choose(graph, scores, new SelectionOptions { TargetTime = 0.9 }, false);
                }
                catch (EspalierException e)
                {
                    // So small a network may have no faster one; that is said of times that were taken again.
                    Assert.StartsWith("no width reaches", e.Message);
                }
            }
            Assert.Single(log, line => line.Contains("taken again", StringComparison.Ordinal));
            var small = new RemovalPlan().Add(groups[0], 0, 1, 2);
            foreach (double now in new[] { new NetworkTimes(graph, table, groups).Of(), new NetworkTimes(graph, table, groups).Of(small) })
                Assert.InRange(now, 0, Math.Max(0.5, 100 * before));
            Assert.Equal(table.Count, TimeTable.Open(path).Count);
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>A share of the time is of the whole network's, whichever round asks, and of a table that was taken again.</summary>
    [Fact]
    public void A_share_of_the_time_is_of_the_whole_in_every_round()
    {
        using var net = new ToyNet(5);
        net.Training = false;
        Graph network = Graph.Trace(net.Forward, new Shape(2, 3, 6, 6), net.StateDict());
        using var scope = new Scope();
        using var graph = DependencyGraph.Build(network, Tensor.Full(new Shape(1, 3, 6, 6), 0.5f));
        ChannelGroup[] groups = [.. graph.Groups.Where(g => !g.IsStream)];
        string path = Path.Combine(Path.GetTempPath(), $"espalier-times-{Guid.NewGuid():N}.json");
        try
        {
            TimeTable table = TimeTable.Open(path);
            new NetworkTimes(graph, table, groups).Measure();
            var scores = new ChannelScores();
            foreach (ChannelGroup group in groups) scores.Set(group, [.. Enumerable.Range(0, group.Count).Select(i => (double)i)]);
            // As in a second round: what was there before took a hundred times as long, and there is nothing left to do.
            var timed = new TimedSelection(_ => { }, default, table) { Whole = 100e3 * new NetworkTimes(graph, table, groups).Of() };
            Assert.Equal(0, timed.Choose(graph, scores, new SelectionOptions { TargetTime = 0.5 }, orNone: true).Count);
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static void Check(Graph network, Shape input, Func<ChannelGroup, IEnumerable<int>> remove)
    {
        using var scope = new Scope();
        var images = new Tensor(input);
        var rng = new Rng(1);
        Init.Normal(images, 1, ref rng);
        using var graph = DependencyGraph.Build(network, images);
        float[] before = network.Run(images).ToArray();
        var plan = new RemovalPlan();
        foreach (ChannelGroup group in graph.Groups) plan.Add(group, remove(group));
        PlanShape expected, found;
        using (Removal.Try(graph, plan)) expected = Plan.ShapeOf(network, Precision.Fp32, null);
        using (Removal.TryShapes(graph, plan)) found = Plan.ShapeOf(network, Precision.Fp32, StepProfile.Fill);
        Assert.Equal(expected.Layers, found.Layers);
        Assert.Equal(expected.FloatsPerImage, found.FloatsPerImage);
        Assert.Equal(expected.WeightBytes, found.WeightBytes);
        Assert.NotEqual(Plan.ShapeOf(network, Precision.Fp32, null).Layers, found.Layers);
        Assert.Equal(before, network.Run(images).ToArray());
        using var session = new Session(network);
        Assert.InRange(Removal.Difference(before, Run(session, images)), 0, 1e-3f);
    }

    private static float[] Run(Session session, Tensor images)
    {
        float[] results = new float[images.Shape[0] * session.NumClasses];
        session.Run(images.ToArray(), images.Shape[0], results);
        return results;
    }
}
