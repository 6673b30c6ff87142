using Espalier.Compression;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Tests.Compression;

namespace Espalier.Tests.Models;

/// <summary>Transformers that have more than the plain one: all readers of a graph and all methods work on them, or say why not.</summary>
[Collection("Workers")]
public sealed class VitFormTests : IDisposable
{
    private static readonly Dictionary<string, VitForm> Forms = new()
    {
        // DINOv2 with registers, MAE fine-tuned, SigLIP, and what timm's others have.
        ["dino"] = new() { LayerScale = true, Registers = 2 },
        ["mean"] = new() { Pool = VitPool.Mean, NormAfterPool = true },
        ["siglip"] = new() { ClassToken = false, Pool = VitPool.Attention, TanhGelu = true },
        ["giant"] = new() { LayerScale = true, GatedMlp = true, Pool = VitPool.ClassAndMean },
        ["norms"] = new() { NormBefore = true, QueryKeyNorm = true, PreLogits = true },
    };

    private readonly string path = Path.Combine(Path.GetTempPath(), $"{Guid.NewGuid():n}.safetensors");

    public static TheoryData<string> Names => [.. Forms.Keys];

    public static TheoryData<string, string> Rows
    {
        get
        {
            var rows = new TheoryData<string, string>();
            foreach (string form in Forms.Keys)
                foreach (CompressionMethod method in CompressionMethods.All)
                    if (method is not ITrainingMethod && (method.Removes || method.TakesTarget)) rows.Add(form, method.Name);
            return rows;
        }
    }

    public void Dispose() => File.Delete(path);

    [Theory]
    [MemberData(nameof(Names))]
    public void FilesSessionsOnnxAndGradientsAgree(string form)
    {
        using Model model = Net(form, TokenNets.Small);
        TransformerBlocks blocks = TransformerBlocks.Of(model.Graph);
        Assert.Equal(4, blocks.Blocks.Count);
        Assert.Equal(form switch { "dino" => 3, "siglip" => 0, _ => 1 }, blocks.PrefixTokens);
        TokenNets.CheckReaders(model);
    }

    /// <summary>Every method that cuts or shortens, and what it makes in a file and a session.</summary>
    [Theory]
    [MemberData(nameof(Rows))]
    public void MethodsWorkOrSayWhyNot(string form, string name)
    {
        CompressionMethod method = CompressionMethods.Get(name);
        method = method with
        {
            TrainSteps = method.TrainsFirst ? 3 : 0, FineTuneSteps = 1, RankBatches = 1, Training = new() { LearningRate = 1e-3f },
        };
        method = name switch
        {
            "stochastic-depth" => method.Set("remove", "1"),
            "spvit" => method.Set("rate", "0"),
            "nvit" => method.Set("eta", "0"),
            "enc" or "low-rank" => method.Set("timed", "no"),
            "ats" => method.Set("count", "6"),
            "patch-slimming" => method.Set("tune", "2"),
            _ => method,
        };
        if (method.Removes) method = method with { Ratio = 0.3 };
        else if (name is not ("patch-slimming" or "ats")) method = method with { TargetFlops = 0.8 };
        using Model model = Net(form, TokenNets.Small with { NumClasses = 10 });
        long cost = model.Graph.CostPerImage.MultiplyAdds, parameters = model.ParameterCount;
        CompressionJob job = CompressionJobs.Job(model, method);
        if (Why(form, name) is { } why)
        {
            string message = Assert.Throws<EspalierException>(job.Run).Message;
            Assert.DoesNotContain('\n', message);
            Assert.Contains(why, message);
            return;
        }
        job.Run();
        Assert.All(job.Removals, r => Assert.InRange(r.Difference, 0, 1e-4f));
        Assert.True(model.Graph.CostPerImage.MultiplyAdds < cost || model.ParameterCount < parameters || name == "ats");
        model.Save(path);
        using Model read = Model.Open(path);
        using var scope = new Scope();
        Tensor images = job.Example(4);
        float[] expected = model.Graph.Run(images).ToArray(), actual = new float[expected.Length];
        Assert.Equal(expected, read.Graph.Run(images).ToArray());
        using Session session = read.Session();
        session.Run(images.Span, 4, actual);
        Assert.InRange(Removal.Difference(expected, actual), 0, 1e-4f * Math.Max(1, expected.Max(MathF.Abs)));
    }

    [Fact]
    public void AgentsNeedAClassToken()
    {
        using Model model = Net("siglip", TokenNets.Small);
        Assert.Contains("no class token", Assert.Throws<EspalierException>(() => TokenAgents.Add(model)).Message);
        using Model dino = Net("dino", TokenNets.Small);
        TokenAgents.Add(dino);
        Assert.Equal(3, TokenAgent.Find(dino.Graph).Select(a => ((KeepRowsOp)a.Keep.Op).Prefix).Distinct().Single());
    }

    [Fact]
    public void PartsThatExcludeOneAnotherAreRefused()
    {
        Assert.Contains("no class token", Refused(new VitForm { ClassToken = false }));
        Assert.Contains("no such mean", Refused(new VitForm { NormAfterPool = true }));

        static string Refused(VitForm form) =>
            Assert.Throws<EspalierException>(() => new VisionTransformer(TokenNets.Small, form: form)).Message;
    }

    /// <summary>What a refusal says; null where the method works.</summary>
    private static string? Why(string form, string method) => (form, method) switch
    {
        (_, "bn-scale" or "network-slimming") => "batch norm",
        (_, "repr") => "filters",
        ("siglip", "evit" or "topk" or "ats" or "dynamicvit" or "patch-slimming" or "vit-slim") => "class token",
        ("mean" or "giant", "patch-slimming" or "dynamicvit" or "vit-slim") => "reads the patches",
        ("norms", "vit-slim") => "norms of each head",
        ("norms", "ats" or "patch-slimming") => "does something to its queries",
        // Its gate and its product read one norm, so that scores of either are scores of both.
        ("giant", "vtp") => "is read by",
        _ => null,
    };

    private static Model Net(string form, VitConfig config)
    {
        var vit = new VisionTransformer(config, 7, Forms[form]);
        var rng = new Rng(7, key0: 3);
        foreach (var (name, p) in vit.NamedParameters())
            if (p.Rank == 1 || name.Contains("head", StringComparison.Ordinal) || name.Contains("token", StringComparison.Ordinal))
                Init.Normal(p, 0.4f, ref rng);
        return Model.FromModule(vit);
    }
}
