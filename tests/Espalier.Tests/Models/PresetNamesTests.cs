using Espalier.Models;

namespace Espalier.Tests.Models;

/// <summary>Others' names for the presets stand for those, and for nothing that is merely near.</summary>
public sealed class PresetNamesTests
{
    public static TheoryData<string, string> Aliases
    {
        get
        {
            var all = new TheoryData<string, string>();
            foreach (var (name, preset) in PresetNames.Aliases) all.Add(name, preset);
            return all;
        }
    }

    [Theory]
    [MemberData(nameof(Aliases))]
    public void EachStandsForAPreset(string name, string preset)
    {
        Assert.Equal(preset, PresetNames.Canonical(name.ToUpperInvariant()));
        Assert.Equal(preset, new OpenOptions { Architecture = name }.Architecture);
        if (CnnPresets.Names.Contains(preset)) Assert.Equal(CnnPresets.Get(preset), CnnPresets.Get(name));
        else Assert.Equal(VitPresets.Get(preset), VitPresets.Get(name));
        Assert.DoesNotContain(name, VitPresets.Names.Concat(CnnPresets.Names));
    }

    /// <summary>The numbers of timm's names: size of the patches and of the images.</summary>
    [Fact]
    public void TheNumbersInTimmsNamesAreTheShapes()
    {
        foreach (var (name, _) in PresetNames.Aliases.Where(a => a.Key.Contains("_patch", StringComparison.Ordinal)))
        {
            VitConfig shape = VitPresets.Get(name);
            Assert.EndsWith($"_patch{shape.PatchSize}_{shape.ImageSize}", name);
            Assert.Equal(name.Contains("distilled", StringComparison.Ordinal), shape.Distilled);
        }
    }

    [Theory]
    [InlineData("vit_base_patch16_384", "vit_base_patch16_224")]
    [InlineData("vit_base_patch16_224.augreg_in21k", null)]
    [InlineData("mobilenetv3_large_100", "mobilenet_v3_large")]
    public void WhatIsNearIsSuggestedAtMost(string name, string? suggested)
    {
        string message = Assert.Throws<EspalierException>(() => Model.Create(name)).Message;
        Assert.Contains($"unknown model '{name}'", message);
        if (suggested is not null) Assert.Contains($"do you mean '{suggested}'?", message);
    }
}
