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

    public static AgentModel Create(VitConfig config, bool agents = false)
    {
        var model = new AgentModel(new VisionTransformer(config), agents ? config.PruneLayers ?? config.DefaultPruneLayers() : []);
        var rng = new Rng(5);
        foreach (var (_, t) in model.Model.Graph.Parameters)
            foreach (ref float x in t.Span) x += 0.1f * rng.NextNormal();
        return model;
    }

    public static Tensor Images(VitConfig c, int count)
    {
        var images = new Tensor(new Shape(count, c.Channels, c.ImageSize, c.ImageSize));
        var rng = new Rng(6);
        Init.Normal(images, 1, ref rng);
        return images;
    }
}
