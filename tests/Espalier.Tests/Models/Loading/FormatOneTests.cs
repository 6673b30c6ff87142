using Espalier.Formats;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Nn;

namespace Espalier.Tests.Models.Loading;

/// <summary>Transformers in files of format 1, and what is no such file.</summary>
public sealed class FormatOneTests : IDisposable
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
    public void A_saved_model_is_read_with_nothing_else()
    {
        string[] names = ["a", "ß", "\"c\""];
        using AgentModel saved = Agents([0, 1]);
        FormatOne.Save(path, saved.StateDict(), new ModelStructure
        {
            Config = Config with { PruneLayers = [0, 1] }, Threshold = 0.625f, ClassNames = names, Dataset = "d",
        });
        using Model read = Model.Open(path);
        Assert.Equal("d", read.Card.Dataset);
        Assert.Equal(names, read.Card.Classes!);
        Assert.Equal(Pruning.Threshold(0.625f), Pruning.Of(read.Graph));
        Assert.Equal([0, 1], new RowCosts(read.Graph).KeepsAfter);
        foreach (var (name, value) in saved.StateDict()) Assert.Equal(value.ToArray(), read.Graph.Weights[name].Tensor.ToArray());
        Assert.Equal($"{saved.StateDict().Count()} tensors matched", read.Report.ToString());
    }

    [Fact]
    public void A_head_for_other_classes_is_replaced_and_reported()
    {
        Write(Vit(Config));
        using Model model = Model.Open(path, new OpenOptions { Config = Config with { NumClasses = 7 }, Classes = 7 });
        Assert.Equal(["head.weight", "head.bias"], model.Report.Replaced);
        Assert.Contains("2 replaced: head.weight, head.bias", model.Report.ToString(), StringComparison.Ordinal);
        Assert.All(model.Graph.Weights["head.weight"].Tensor.ToArray(), w => Assert.Equal(0, w));
        AssertRefused(() => Model.Open(path, new OpenOptions { Config = Config with { NumClasses = 7 } }), "head.weight", "[3,8]", "[7,8]");
    }

    [Theory]
    [InlineData("lacks 1 of", Query)]
    [InlineData("NaN", Query)]
    [InlineData("[5,8]", Query, "[8,8]")]
    [InlineData("square grid")]
    public void What_does_not_fit_is_named(params string[] says)
    {
        Write(Vit(Config), edit: a => says[0] switch
        {
            "lacks 1 of" when a.Name == Query => null,
            "NaN" when a.Name == Query => new NamedArray(a.Name, a.Shape, [float.NaN, .. a.Data[1..]]),
            "[5,8]" when a.Name == Query => new NamedArray(a.Name, [5, 8], a.Data[..40]),
            "square grid" when a.Name == Positions => new NamedArray(a.Name, [1, 7, 8], new float[56]),
            _ => a,
        });
        AssertRefused(() => Model.Open(path, new OpenOptions { Config = Config }), says);
    }

    [Fact]
    public void Another_number_of_agents_is_refused()
    {
        using AgentModel model = Agents([0, 1]);
        model.SaveFormat1(path);
        foreach (int[] layers in new int[][] { [0], [0, 1, 2] })
            AssertRefused(() => Model.Open(path, new OpenOptions { Config = Config with { PruneLayers = layers } }), "2 agents",
                $"{layers.Length} pruneLayers");
    }

    [Fact]
    public void A_wrong_number_of_heads_is_refused()
    {
        using var saved = new VisionTransformer(Config);
        FormatOne.Save(path, saved);
        AssertRefused(() => Model.Open(path, new OpenOptions { Config = Config with { NumHeads = 4 } }), "2 attention heads, not 4");
    }

    [Theory]
    [InlineData("", "damaged")]
    [InlineData("{", "damaged")]
    [InlineData("null", "names no format")]
    [InlineData("[]", "damaged")]
    [InlineData("""{"format":1,"architecture":"vit"}""", "config")]
    [InlineData("""{"format":1,"architecture":"vit","config":null}""", "config")]
    [InlineData("""{"format":2,"architecture":"vit","shape":{}}""", "damaged")]
    [InlineData("""{"format":1,"architecture":"swin","config":CONFIG}""", "'swin'")]
    [InlineData("""{"format":1,"architecture":"vit","config":CONFIG,"threshold":1.5}""", "threshold")]
    [InlineData("""{"format":1,"architecture":"vit","config":CONFIG,"threshold":NaN}""", "damaged")]
    [InlineData("""{"format":1,"architecture":"vit","config":CONFIG,"threshold":"NaN"}""", "damaged")]
    [InlineData("""{"format":1,"architecture":"vit","config":CONFIG,"classNames":["a"]}""", "classNames")]
    [InlineData("""{"format":1,"architecture":"vit","config":CONFIG,"classNames":["a",null,"c"]}""", "classNames")]
    [InlineData("""{"format":1,"architecture":"vit","config":{"hiddenSize":65536,"mlpDim":1048576,"numHeads":2,"numLayers":1024,SIZES}}""", "has shape [8,1,4,4]")]
    [InlineData("""{"format":1,"architecture":"vit","config":LARGE}""", "2048")]
    [InlineData("""{"format":1,"architecture":"vit","config":{"hiddenSize":2000000000,"mlpDim":12,"numHeads":2,"numLayers":3,SIZES}}""", "hiddenSize")]
    [InlineData("""{"format":1,"architecture":"vit","config":{"hiddenSize":8,"mlpDim":12,"numHeads":2,"numLayers":3,"stem":7,SIZES}}""", "stem")]
    public void A_bad_structure_block_is_refused_in_one_line(string block, string says)
    {
        Write(Vit(Config), block: block.Replace("CONFIG", Config.ToJson(), StringComparison.Ordinal)
            .Replace("LARGE", (Config with { ImageSize = 2048 }).ToJson(), StringComparison.Ordinal)
            .Replace("SIZES", "\"imageSize\":8,\"patchSize\":4,\"channels\":1,\"numClasses\":3", StringComparison.Ordinal));
        AssertRefused(() => Model.Open(path), says);
    }

    [Fact]
    public void What_a_newer_writer_adds_to_this_format_is_passed_over()
    {
        Write(Vit(Config), block: $$"""{"format":1,"architecture":"vit","config":{{Config.ToJson()}},"licence":"MIT"}""");
        using Model read = Model.Open(path);
        Assert.Equal(Config.Description, read.Description);
    }

    [Fact]
    public void Without_a_structure_block_the_shape_must_be_given()
    {
        Write(Vit(Config));
        AssertRefused(() => Model.Open(path), "Config");
        using Model read = Model.Open(path, new OpenOptions { Config = Config });
        Assert.Equal(Config.Description, read.Description);
    }

    [Fact]
    public void A_given_shape_wins_but_keeps_the_blocks_layers_and_threshold()
    {
        using AgentModel saved = Agents([1]);
        saved.Threshold = 0.25f;
        saved.SaveFormat1(path);
        using Model read = Model.Open(path, new OpenOptions { Config = Config with { ImageSize = 16 } });
        Assert.Equal([1], new RowCosts(read.Graph).KeepsAfter);
        Assert.Equal(Pruning.Threshold(0.25f), Pruning.Of(read.Graph));
        Assert.Equal(17, read.Graph.Weights[Positions].Shape[1]);
        Assert.Single(read.Report.Resized);
    }

    private static VisionTransformer Vit(VitConfig config) => new(config, seed: 3);

    private static AgentModel Agents(int[] layers) => new(Vit(Config), layers);

    private void Write(Module module, Func<NamedArray, NamedArray?>? edit = null, string? block = null)
    {
        var arrays = module.StateDict().Select(p => new NamedArray(p.Name, p.Value.Shape.ToArray(), p.Value.ToArray()))
            .Select(a => edit is null ? a : edit(a)).OfType<NamedArray>();
        Safetensors.Write(path, arrays, block is null ? null : new Dictionary<string, string> { ["espalier"] = block });
        module.Dispose();
    }

    private void AssertRefused(Action action, params string[] says)
    {
        var e = Assert.Throws<EspalierException>(action);
        Assert.StartsWith(path, e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', e.Message);
        foreach (string s in says) Assert.True(e.Message.Contains(s, StringComparison.Ordinal), e.Message);
    }
}
