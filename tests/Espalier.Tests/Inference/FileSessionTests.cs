using Espalier.Formats;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Tests.Models;

namespace Espalier.Tests.Inference;

public sealed class FileSessionTests : IDisposable
{
    private readonly string path = Path.GetTempFileName();

    public void Dispose() => File.Delete(path);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_file_gives_the_same_bits_as_its_module(bool distilled)
    {
        using AgentModel model = SessionModel.New(distilled);
        model.Threshold = 0.375f;
        model.SaveFormat1(path, "noise");
        using var expected = new Session(model.Trace());
        using Session actual = Session.Open(path);
        Assert.Equal("noise", actual.Dataset);
        Assert.Equal([0, 2, 3], actual.AgentLayers);
        Assert.Equal(expected.Pruning, actual.Pruning);
        Assert.Equal(Logits(expected), Logits(actual));
    }

    [Fact]
    public void Timms_names_and_joined_projections_are_read_in_place()
    {
        using AgentModel model = SessionModel.New();
        VisionTransformer vit = model.Vit;
        Safetensors.Write(path, Timm(vit));
        using Session expected = Session.Of(vit);
        using Session actual = Session.Open(path, new OpenOptions { Config = vit.Config });
        Assert.Equal(Logits(expected), Logits(actual));
    }

    [Fact]
    public void Positions_are_fitted_to_another_grid()
    {
        using AgentModel model = SessionModel.New();
        FormatOne.Save(path, model.Vit);
        VitConfig larger = model.Vit.Config with { ImageSize = 48 };
        using Model loaded = Model.Open(path, new OpenOptions { ImageSize = 48 });
        using Session expected = Session.Of(loaded);
        using Session actual = Session.Open(path, new OpenOptions { Config = larger });
        Assert.Equal(Logits(expected), Logits(actual));
    }

    [Theory]
    [InlineData("lacks 1 of", "layer.2.ffn.fc1.bias")]
    [InlineData("has shape [24] in the file but [40]", "layer.2.ffn.fc1.bias")]
    [InlineData("NaN", "layer.2.ffn.fc1.bias")]
    public void A_file_that_does_not_fit_is_refused(string says, string name)
    {
        using AgentModel model = SessionModel.New();
        Safetensors.Write(path, model.Vit.StateDict().Select(p => new NamedArray(p.Name, p.Value.Shape.ToArray(), p.Value.ToArray()))
            .Select(a => !a.Name.EndsWith(name, StringComparison.Ordinal) ? a : says[0] switch
            {
                'l' => null,
                'h' => new NamedArray(a.Name, [24], a.Data[..24]),
                _ => new NamedArray(a.Name, a.Shape, [float.NaN, .. a.Data[1..]]),
            }).OfType<NamedArray>());
        var e = Assert.Throws<EspalierException>(() => Session.Open(path, new OpenOptions { Config = model.Vit.Config }));
        Assert.Contains(path, e.Message, StringComparison.Ordinal);
        Assert.Contains(says, e.Message, StringComparison.Ordinal);
        Assert.Contains(name, e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Initialisers_rest_only_while_they_are_told_to()
    {
        using AgentModel saved = SessionModel.New();
        saved.SaveFormat1(path);
        Model.Open(path).Dispose();
        using var vit = new VisionTransformer(SessionModel.Config);
        Assert.All(vit.NamedParameters().Where(p => p.Name.EndsWith("query.weight", StringComparison.Ordinal)),
            p => Assert.NotEqual(0, p.Value.Span[0]));
    }

    private static float[] Logits(Session session)
    {
        var logits = new float[3 * session.NumClasses];
        session.Run(SessionModel.Images(3, SessionModel.Config with { ImageSize = session.ImageSize }), 3, logits);
        return logits;
    }

    private static IEnumerable<NamedArray> Timm(VisionTransformer vit)
    {
        var values = vit.StateDict().ToDictionary(p => p.Name, p => (Shape: p.Value.Shape.ToArray(), Data: p.Value.ToArray()));
        foreach (var (name, (shape, data)) in values)
        {
            if (name.Contains("attn.key", StringComparison.Ordinal) || name.Contains("attn.value", StringComparison.Ordinal)) continue;
            if (!name.Contains("attn.query", StringComparison.Ordinal))
            {
                yield return new NamedArray(Rename(name), shape, data);
                continue;
            }
            float[] key = values[name.Replace("query", "key", StringComparison.Ordinal)].Data;
            float[] value = values[name.Replace("query", "value", StringComparison.Ordinal)].Data;
            yield return new NamedArray(Rename(name), [3 * shape[0], .. shape[1..]], [.. data, .. key, .. value]);
        }
    }

    private static string Rename(string name) => new[]
    {
        ("transformer.embeddings.patch_embeddings", "patch_embed.proj"), ("transformer.embeddings.position_embeddings", "pos_embed"),
        ("transformer.embeddings.", ""), ("transformer.encoder.encoder_norm", "norm"), ("transformer.encoder.layer.", "blocks."),
        ("attention_norm", "norm1"), ("ffn_norm", "norm2"), ("attn.query", "attn.qkv"), ("attn.out", "attn.proj"), ("ffn.", "mlp."),
    }.Aggregate(name, (n, pair) => n.Replace(pair.Item1, pair.Item2, StringComparison.Ordinal));
}
