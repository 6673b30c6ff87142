using Espalier.Compression.Apt;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Models.Loading;

/// <summary>Small models with no weight left at zero or one, so that a mistaken weight shows.</summary>
internal static class RandomModel
{
    public static readonly VitConfig Tiny = new()
    {
        ImageSize = 24, PatchSize = 4, Channels = 3, HiddenSize = 24, MlpDim = 40, NumHeads = 3, NumLayers = 4, NumClasses = 7,
    };

    public static LoadedModel Create(VitConfig config, bool agents = false)
    {
        var vit = new VisionTransformer(config);
        AptModel? apt = agents ? new AptModel(vit) : null;
        var rng = new Rng(5);
        foreach (Tensor t in (apt as Module ?? vit).Parameters())
            foreach (ref float x in t.Span) x += 0.1f * rng.NextNormal();
        (apt as Module ?? vit).Training = false;
        return new LoadedModel(vit, apt, new ModelStructure { Config = config }, LoadReport.Empty);
    }

    public static Tensor Images(VitConfig c, int count)
    {
        var images = new Tensor(new Shape(count, c.Channels, c.ImageSize, c.ImageSize));
        var rng = new Rng(6);
        Init.Normal(images, 1, ref rng);
        return images;
    }
}
