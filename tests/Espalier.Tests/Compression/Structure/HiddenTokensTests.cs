using Espalier.Compression;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Structure;

/// <summary>What is gone is as good as hidden: a shorter run is that of all tokens in which nobody sees those.</summary>
public sealed class HiddenTokensTests
{
    public static TheoryData<string, string, string> Methods => new()
    {
        { "topk", "keep", "0.6" }, { "evit", "keep", "0.6" }, { "random-tokens", "keep", "0.6" }, { "ats", "count", "8" },
        { "tome", "merge", "3" }, { "dynamicvit", "keep", "0.6" },
    };

    [Theory]
    [MemberData(nameof(Methods))]
    public void A_shorter_run_is_the_one_that_hides(string name, string setting, string value)
    {
        using var scope = new Scope();
        using Model model = TokenNets.Vit();
        Graph whole = model.Graph.Copy();
        ((TokenMethod)CompressionMethods.Get(name).Set(setting, value)).Apply(model.Graph);
        Assert.True(model.Graph.CostPerImage.MultiplyAdds < whole.CostPerImage.MultiplyAdds || name == "ats");
        Tensor images = TokenNets.Images(3);
        Assert.InRange(HiddenTokens.Difference(whole, model.Graph, images), 0, 1e-4f);
        Assert.True(Removal.Difference(whole.Run(images).Span, model.Graph.Run(images).Span) > 1e-3f);
    }

    /// <summary>A head that reads all rows reads those that are left.</summary>
    [Theory]
    [InlineData(VitPool.Mean, "topk", "keep", "0.6")]
    [InlineData(VitPool.Mean, "tome", "merge", "3")]
    [InlineData(VitPool.ClassAndMean, "evit", "keep", "0.6")]
    [InlineData(VitPool.Attention, "random-tokens", "keep", "0.6")]
    public void Pools_do_not_see_them_either(VitPool pool, string name, string setting, string value)
    {
        using var scope = new Scope();
        using Model model = TokenNets.Vit(form: new VitForm { Pool = pool, QueryKeyNorm = pool == VitPool.Mean });
        Graph whole = model.Graph.Copy();
        ((TokenMethod)CompressionMethods.Get(name).Set(setting, value)).Apply(model.Graph);
        Tensor images = TokenNets.Images(2);
        Assert.InRange(HiddenTokens.Difference(whole, model.Graph, images), 0, 1e-4f);
        Assert.True(Removal.Difference(whole.Run(images).Span, model.Graph.Run(images).Span) > 1e-3f);
    }

    /// <summary>Another number of merged tokens, weights of sums and sizes all count.</summary>
    [Theory]
    [InlineData("evit", "keep", "0.6", "fuse", "no")]
    [InlineData("tome", "merge", "3", "proportional", "no")]
    public void Runs_that_differ_in_a_part_only_are_told_apart(string name, string setting, string value, string other, string off)
    {
        using var scope = new Scope();
        using Model model = TokenNets.Vit(), without = TokenNets.Vit();
        CompressionMethod method = CompressionMethods.Get(name).Set(setting, value);
        ((TokenMethod)method).Apply(model.Graph);
        ((TokenMethod)method.Set(other, off)).Apply(without.Graph);
        Tensor images = TokenNets.Images(3);
        Assert.True(Removal.Difference(without.Graph.Run(images).Span, model.Graph.Run(images).Span) > 1e-3f);
        using Model fresh = TokenNets.Vit();
        Assert.InRange(HiddenTokens.Difference(fresh.Graph, without.Graph, images), 0, 1e-4f);
    }

    [Fact]
    public void Other_weights_are_far_away()
    {
        using var scope = new Scope();
        using Model model = TokenNets.Vit(), other = TokenNets.Vit(seed: 8);
        ((TokenMethod)CompressionMethods.Get("topk").Set("keep", "0.6")).Apply(model.Graph);
        Assert.True(HiddenTokens.Difference(other.Graph, model.Graph, TokenNets.Images(2)) > 1e-2f);
    }
}
