using Espalier.Compression;
using Espalier.Inference;
using Espalier.Tensors;

namespace Espalier.Tests.Compression;

/// <summary>
/// Every method on every kind of network: what comes out is smaller, is the masked network, loads from its file with nothing else,
/// and can be pruned and fine-tuned again. Where a method has nothing to work on it says so.
/// </summary>
public sealed class MethodMatrixTests : IDisposable
{
    private const string NoTransformer = "no vision transformer of pre-norm blocks: it has no attention",
        NoBlocks = "no residual blocks that could be removed", NoScales = "has a batch norm, whose scales this method goes by",
        NoFilters = "no convolutions whose filters could be dropped";

    private static readonly (string Network, int Size)[] Classic =
        [("cifar-vgg11", 16), ("resnet20", 16), ("preresnet20", 16), ("densenet40", 16)];

    private static readonly (string Network, int Size)[] Mobile =
    [
        ("mobilenet_v2", 32), ("efficientnet_b0", 32), ("shufflenet_v2_x1_0", 32), ("xception", 64), ("mobilenet_v3_small", 32),
        ("convnext_tiny", 32), ("regnet_y_400mf", 32),
    ];

    private static readonly (string Network, int Size)[] Transformers = 
        [(CompressionJobs.TinyVit, 8), (CompressionJobs.TinyHybrid, 32), (CompressionJobs.TinyConvolutions, 8)];

    /// <summary>What works on blocks of transformers only, and how it says so.</summary>
    private static readonly Dictionary<string, string> ForTransformers = new()
    {
        ["corp"] = "no layers whose channels could be removed", ["nvit"] = NoTransformer, ["spvit"] = NoTransformer,
        ["vit-slim"] = NoTransformer, ["vtp"] = NoTransformer, ["wdpruning"] = NoTransformer,
    };

    /// <summary>What cannot be, and why: no residual blocks to leave out, or no filters but those that concats need in their places.
    /// </summary>
    private static readonly Dictionary<(string Method, string Network), string> Refused = new(
        // Dimensions of transformer blocks, where there are none.
        from classic in Classic from method in ForTransformers
        select KeyValuePair.Create((method.Key, classic.Network), method.Value))
    {
        [("stochastic-depth", "cifar-vgg11")] = NoBlocks, [("stochastic-depth", "densenet40")] = NoBlocks,
        [("stochastic-depth", "densenet121")] = NoBlocks,
        [("soft-filter", "densenet40")] = "no filter could be removed", [("repr", "densenet40")] = NoFilters,
        // Without batch norms there are no scales; without convolutions but that of the patches there are no filters.
        [("bn-scale", CompressionJobs.TinyVit)] = NoScales, [("bn-scale", CompressionJobs.TinyHybrid)] = NoScales,
        [("network-slimming", "convnext_tiny")] = NoScales, [("network-slimming", CompressionJobs.TinyVit)] = NoScales,
        [("network-slimming", CompressionJobs.TinyHybrid)] = NoScales,
        [("repr", CompressionJobs.TinyVit)] = NoFilters, [("repr", CompressionJobs.TinyHybrid)] = NoFilters,
    };

    /// <summary>Settings that so small a task needs: few blocks can go, so a share of them is less than one.</summary>
    private static readonly Dictionary<string, (string Name, string Value)> Settings = new()
    {
        ["stochastic-depth"] = ("remove", "1"),
        // Gates that stay equal leave some attention for the second time.
        ["spvit"] = ("rate", "0"),
        // Times are not measured.
        ["nvit"] = ("eta", "0"), ["enc"] = ("timed", "no"), ["low-rank"] = ("timed", "no"),
    };

    private readonly string path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.safetensors");

    public static TheoryData<string, string, int> Rows
    {
        get
        {
            var rows = new TheoryData<string, string, int>();
            // Methods that train in a way of their own, or shorten tokens, are for networks that have what they need.
            foreach (CompressionMethod method in CompressionMethods.All.Where(m => m is not ITrainingMethod && m.Removes))
            {
                bool everywhere = method.Name is "taylor" or "network-slimming" or "l1";
                foreach (var (network, size) in Classic.Concat(everywhere ? Mobile : []).Concat(Transformers))
                    rows.Add(method.Name, network, size);
                if (Refused.ContainsKey((method.Name, "densenet40")) && !ForTransformers.ContainsKey(method.Name))
                    rows.Add(method.Name, "densenet121", 32);
            }
            return rows;
        }
    }

    public void Dispose() => File.Delete(path);

    [Theory]
    [MemberData(nameof(Rows))]
    public void MakesItSmallerAgainAndAgain(string name, string network, int size)
    {
        CompressionMethod method = CompressionMethods.Get(name);
        method = method with
        {
            Ratio = 0.3, TrainSteps = method.TrainsFirst ? 3 : 0, FineTuneSteps = 1, RankBatches = 1, Training = new() { LearningRate = 1e-3f },
        };
        if (Settings.TryGetValue(name, out var setting)) method = method.Set(setting.Name, setting.Value);
        using Model model = CompressionJobs.Model(network, size, width: network == "xception" ? 0.125 : 0.25);
        if (Refused.TryGetValue((name, network), out string? reason))
        {
            float[] first = model.Graph.Parameters.First().Value.ToArray();
            string message = Assert.Throws<EspalierException>(CompressionJobs.Job(model, method).Run).Message;
            Assert.Contains(reason, message, StringComparison.Ordinal);
            Assert.DoesNotContain('\n', message);
            Assert.Equal(first, model.Graph.Parameters.First().Value.ToArray());
            return;
        }
        CompressionJob job = Prune(method, model);
        model.Save(path);
        using Model loaded = Model.Open(path);
        using (new Scope())
        {
            Tensor images = job.Example(4);
            float[] logits = model.Graph.Run(images).ToArray();
            Assert.Equal(logits, loaded.Graph.Run(images).ToArray());
            float[] fast = new float[logits.Length];
            using (Session session = loaded.Session()) session.Run(images.ToArray(), 4, fast);
            Assert.InRange(Removal.Difference(logits, fast), 0, 1e-4f * Math.Max(1, logits.Max(MathF.Abs)));
        }
        Prune(method, loaded);
        loaded.Save(path);
        using Model again = Model.Open(path);
        Assert.Equal(loaded.ParameterCount, again.ParameterCount);
        Assert.Equal(2, again.Card.History.Count);
    }

    /// <summary>One run, with a step of fine-tuning at its end.</summary>
    private static CompressionJob Prune(CompressionMethod method, Model net)
    {
        CompressionJob job = CompressionJobs.Job(net, method);
        long parameters = net.ParameterCount;
        job.Run();
        Assert.True(net.ParameterCount < parameters, $"{parameters} -> {net.ParameterCount} parameters");
        Assert.NotEmpty(job.Removals);
        Assert.Equal(net.ParameterCount, job.Removals[^1].Summary.ParametersAfter);
        Assert.True(job.Removals[^1].Summary.MultiplyAddsAfter < job.Removals[0].Summary.MultiplyAddsBefore);
        Assert.All(job.Removals, r => Assert.InRange(r.Difference, 0, 1e-4f));
        return job;
    }
}
