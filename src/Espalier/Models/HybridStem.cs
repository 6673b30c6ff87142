using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>Whose ResNet stem; checkpoints hold the same arrays for both.</summary>
public enum HybridStemVariant
{
    /// <summary>The JAX reference: SAME padding, weights divided by std + 1e-5.</summary>
    Google,

    /// <summary>
    /// The PyTorch port that APT was built on: symmetric padding (none for the pool), weights divided by
    /// sqrt(variance + 1e-5), one group per channel and epsilon 1e-5 where the shortcut is normalised.
    /// </summary>
    Torch,
}

/// <summary>
/// The first three stages of a ResNet-50 with weight standardisation and group norm, in front of a hybrid vision transformer
/// (Dosovitskiy et al., arXiv 2010.11929). x [N, C, S, S] -> [N, 16·width, S/16, S/16]; 224 becomes 14.
/// </summary>
public sealed class HybridStem : Module
{
    /// <summary>Units of the stages, and groups of the norms, of the published models.</summary>
    internal static readonly IReadOnlyList<int> Depths = [3, 4, 9];

    internal const int Groups = 32;

    private readonly StdConv2d rootConv;
    private readonly GroupNorm rootNorm;
    private readonly MaxPool2d rootPool;
    private readonly List<HybridStemUnit> units = [];

    /// <param name="width">Channels after the first convolution; stage i ends with width·4·2^i.</param>
    /// <param name="depths">Units of the stages; 3, 4, 9 unless given.</param>
    /// <param name="groups">Groups of the norms.</param>
    public HybridStem(
        HybridStemVariant variant, int channels, ref Rng rng, int width = 64, IReadOnlyList<int>? depths = null, int groups = Groups)
    {
        depths ??= Depths;
        bool same = variant == HybridStemVariant.Google;
        rootConv = Child("root.conv", new StdConv2d(
            channels, width, 7, same ? WeightStandardisation.Google : WeightStandardisation.Jeonsworld, ref rng, 2, 3, same));
        rootNorm = Child("root.gn", new GroupNorm(groups, width, 1e-6f));
        rootPool = Child("root.pool", new MaxPool2d(3, 2, same: same));
        int inputs = width, middle = width;
        for (int stage = 0; stage < depths.Count; stage++, middle *= 2)
        {
            for (int unit = 0; unit < depths[stage]; unit++, inputs = 4 * middle)
            {
                int stride = unit == 0 && stage > 0 ? 2 : 1;
                units.Add(Child($"body.block{stage + 1}.unit{unit + 1}",
                    new HybridStemUnit(variant, inputs, middle, stride, groups, ref rng)));
            }
        }
        OutputChannels = inputs;
    }

    public int OutputChannels { get; }

    public Tensor Forward(Tensor x)
    {
        x = rootPool.Forward(F.Relu(rootNorm.Forward(rootConv.Forward(x))));
        foreach (HybridStemUnit unit in units) x = unit.Forward(x);
        return x;
    }
}
