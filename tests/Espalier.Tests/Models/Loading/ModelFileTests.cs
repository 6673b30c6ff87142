using Espalier.Compression.Apt;
using Espalier.Formats;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Models.Loading;

public sealed class ModelFileTests : IDisposable
{
    private const string Positions = "transformer.embeddings.position_embeddings";
    private const string Query = "transformer.encoder.layer.1.attn.query.weight";

    private static readonly VitConfig Config = new()
    {
        ImageSize = 8, PatchSize = 4, Channels = 1, HiddenSize = 8, MlpDim = 12, NumHeads = 2, NumLayers = 3, NumClasses = 3,
    };

    private readonly string path = Path.Combine(Path.GetTempPath(), $"espalier-{Guid.NewGuid():N}.safetensors");

    public void Dispose() => File.Delete(path);

    [Fact]
    public void A_saved_model_is_read_back_with_nothing_else()
    {
        string[] names = ["a", "ß", "\"c\""];
        using AptModel saved = Apt(Config, [0, 1]);
        saved.Threshold = 0.625f;
        // The layers are the model's own, whatever the structure says.
        ModelFile.Save(path, saved, new ModelStructure { Config = Config, Threshold = 0.625f, ClassNames = names, Dataset = "d" });

        using LoadedModel read = ModelFile.Load(path);
        Assert.Equal((0.625f, "d"), (read.Apt!.Threshold, read.Structure.Dataset));
        Assert.Equal(names, read.Structure.ClassNames!);
        Assert.Equal([0, 1], read.Apt.Layers);
        Assert.Equal(Config with { PruneLayers = [0, 1] }, read.Vit.Config);
        Assert.False(read.Vit.Training);
        Assert.Equal(Values(saved), Values(read.Module));
        Assert.Equal($"{saved.StateDict().Count()} tensors matched", read.Report.ToString());
    }

    [Fact]
    public void A_model_without_agents_is_read_as_one()
    {
        using var saved = new VisionTransformer(Config);
        ModelFile.Save(path, saved, new ModelStructure { Config = Config });
        using LoadedModel read = ModelFile.Load(path);
        Assert.Null(read.Apt);
        Assert.Equal(Values(saved), Values(read.Vit));
    }

    [Fact]
    public void A_head_for_other_classes_is_replaced_and_reported()
    {
        using AptModel model = Apt(Config with { NumClasses = 7 }, [0]);
        Write(Vit(Config));
        LoadReport report = ModelFile.LoadInto(model, model.Vit.Config, path);
        Assert.Equal(["head.weight", "head.bias"], report.Replaced);
        Assert.Equal(8, report.Missing.Count);
        Assert.All(report.Missing, name => Assert.Contains("clip_layer.0", name, StringComparison.Ordinal));
        Assert.Contains("2 replaced: head.weight, head.bias", report.ToString(), StringComparison.Ordinal);
        Assert.All(Tensor(model, "head.weight").ToArray(), w => Assert.Equal(0, w));
        AssertRefused(() => ModelFile.LoadInto(model, model.Vit.Config, path, replaceHead: false), "head.weight", "[3,8]", "[7,8]");
    }

    [Fact]
    public void Tensors_of_no_use_are_reported()
    {
        using AptModel agents = Apt(Config, [0]);
        Write(agents, extra: [new NamedArray("pre_logits.fc.bias", [2], [1, 2])]);
        using var vit = new VisionTransformer(Config);
        LoadReport report = ModelFile.LoadInto(vit, Config, path);
        Assert.Equal(9, report.Unexpected.Count);
        Assert.Contains("pre_logits.fc.bias", report.Unexpected);
        Assert.Empty(report.Missing);
    }

    [Theory]
    [InlineData("lacks 1 of", Query)]
    [InlineData("NaN", Query)]
    [InlineData("[5,8]", Query, "[8,8]")]
    [InlineData("square grid")]
    public void What_does_not_fit_is_named_and_changes_nothing(params string[] says)
    {
        Write(Vit(Config), edit: a => says[0] switch
        {
            "lacks 1 of" when a.Name == Query => null,
            "NaN" when a.Name == Query => new NamedArray(a.Name, a.Shape, [float.NaN, .. a.Data[1..]]),
            "[5,8]" when a.Name == Query => new NamedArray(a.Name, [5, 8], a.Data[..40]),
            "square grid" when a.Name == Positions => new NamedArray(a.Name, [1, 7, 8], new float[56]),
            _ => a,
        });
        using var model = new VisionTransformer(Config, seed: 77);
        float[][] before = Values(model);
        AssertRefused(() => ModelFile.LoadInto(model, Config, path), says);
        Assert.Equal(before, Values(model));
        AssertRefused(() => ModelFile.Load(path, Config), says);
    }

    [Fact]
    public void Another_number_of_agents_is_refused()
    {
        using AptModel model = Apt(Config, [0, 1]);
        Write(model);
        AssertRefused(() => ModelFile.Load(path, Config with { PruneLayers = [0] }), "2 agents", "1 pruneLayers");
        AssertRefused(() => ModelFile.Load(path, Config with { PruneLayers = [0, 1, 2] }), "2 agents", "3 pruneLayers");
    }

    [Fact]
    public void A_wrong_number_of_heads_is_refused()
    {
        using var saved = new VisionTransformer(Config);
        ModelFile.Save(path, saved, new ModelStructure { Config = Config });
        using var other = new VisionTransformer(Config with { NumHeads = 4 });
        AssertRefused(() => ModelFile.LoadInto(other, other.Config, path), "2 attention heads, not 4");
    }

    [Theory]
    [InlineData("", "damaged")]
    [InlineData("{", "damaged")]
    [InlineData("null", "format 0")]
    [InlineData("[]", "damaged")]
    [InlineData("""{"format":1,"architecture":"vit"}""", "config")]
    [InlineData("""{"format":1,"architecture":"vit","config":null}""", "config")]
    [InlineData("""{"format":2,"architecture":"vit","shape":{}}""", "format 2")]
    [InlineData("""{"format":1,"architecture":"swin","config":CONFIG}""", "'swin'")]
    [InlineData("""{"format":1,"architecture":"vit","config":CONFIG,"threshold":1.5}""", "threshold")]
    [InlineData("""{"format":1,"architecture":"vit","config":CONFIG,"threshold":NaN}""", "damaged")]
    [InlineData("""{"format":1,"architecture":"vit","config":CONFIG,"threshold":"NaN"}""", "damaged")]
    [InlineData("""{"format":1,"architecture":"vit","config":CONFIG,"classNames":["a"]}""", "classNames")]
    [InlineData("""{"format":1,"architecture":"vit","config":CONFIG,"classNames":["a",null,"c"]}""", "classNames")]
    [InlineData("""{"format":1,"architecture":"vit","config":{"hiddenSize":65536,"mlpDim":1048576,"numHeads":2,"numLayers":1024,SIZES}}""", "parameters")]
    [InlineData("""{"format":1,"architecture":"vit","config":LARGE}""", "parameters")]
    [InlineData("""{"format":1,"architecture":"vit","config":{"hiddenSize":2000000000,"mlpDim":12,"numHeads":2,"numLayers":3,SIZES}}""", "hiddenSize")]
    [InlineData("""{"format":1,"architecture":"vit","config":{"hiddenSize":8,"mlpDim":12,"numHeads":2,"numLayers":3,"stem":7,SIZES}}""", "stem")]
    public void A_bad_structure_block_is_refused_in_one_line(string block, string says)
    {
        Write(Vit(Config), block: block.Replace("CONFIG", Config.ToJson(), StringComparison.Ordinal)
            .Replace("LARGE", (Config with { ImageSize = 2048 }).ToJson(), StringComparison.Ordinal)
            .Replace("SIZES", "\"imageSize\":8,\"patchSize\":4,\"channels\":1,\"numClasses\":3", StringComparison.Ordinal));
        AssertRefused(() => ModelFile.Load(path), says);
    }

    [Fact]
    public void What_a_newer_writer_adds_to_this_format_is_passed_over()
    {
        Write(Vit(Config), block: $$"""{"format":1,"architecture":"vit","config":{{Config.ToJson()}},"licence":"MIT"}""");
        using LoadedModel read = ModelFile.Load(path);
        Assert.Equal(Config, read.Vit.Config);
    }

    [Fact]
    public void Without_a_structure_block_the_shape_must_be_given()
    {
        Write(Vit(Config));
        AssertRefused(() => ModelFile.Load(path), "--config");
        using LoadedModel read = ModelFile.Load(path, Config);
        Assert.Equal(3, read.Vit.Config.NumLayers);
    }

    [Fact]
    public void A_given_shape_wins_but_keeps_the_blocks_layers_and_threshold()
    {
        using AptModel saved = Apt(Config, [1]);
        ModelFile.Save(path, saved, new ModelStructure { Config = Config, Threshold = 0.25f });
        using LoadedModel read = ModelFile.Load(path, Config with { ImageSize = 16 });
        Assert.Equal([1], read.Apt!.Layers);
        Assert.Equal(0.25f, read.Apt.Threshold);
        Assert.Equal(17, read.Vit.Config.Tokens);
        Assert.Single(read.Report.Resized);
    }

    [Fact]
    public void A_threshold_that_could_not_be_read_back_is_not_written()
    {
        using AptModel model = Apt(Config, [1]);
        AssertRefused(() => ModelFile.Save(path, model, new ModelStructure { Config = Config, Threshold = float.NaN }), "threshold");
        Assert.False(File.Exists(path));
        Assert.Throws<EspalierException>(() => model.Threshold = float.NaN);
    }

    private static VisionTransformer Vit(VitConfig config) => new(config, seed: 3);

    private static AptModel Apt(VitConfig config, int[] layers) => new(Vit(config), layers);

    private static float[][] Values(Module module) => [.. module.StateDict().Select(p => p.Value.ToArray())];

    private static Tensor Tensor(Module module, string name) => module.StateDict().Single(p => p.Name == name).Value;

    private void Write(Module module, Func<NamedArray, NamedArray?>? edit = null, NamedArray[]? extra = null, string? block = null)
    {
        var arrays = module.StateDict().Select(p => new NamedArray(p.Name, p.Value.Shape.ToArray(), p.Value.ToArray()))
            .Select(a => edit is null ? a : edit(a)).OfType<NamedArray>().Concat(extra ?? []);
        Safetensors.Write(path, arrays, block is null ? null : new Dictionary<string, string> { ["espalier"] = block });
        module.Dispose();
    }

    private void AssertRefused(Action action, params string[] says)
    {
        var e = Assert.Throws<EspalierException>(action);
        Assert.StartsWith(path, e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', e.Message);
        foreach (string s in says) Assert.Contains(s, e.Message, StringComparison.Ordinal);
    }
}
