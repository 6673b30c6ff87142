using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>
/// A bottleneck of the <see cref="HybridStem"/>: relu(shortcut + norm(conv 1x1(relu(norm(conv 3x3(relu(norm(conv 1x1(x))))))))).
/// x [N, inputs, H, W] -> [N, 4·middle, H/stride, W/stride]. The shortcut is projected where channels or stride change.
/// </summary>
internal sealed class HybridStemUnit : Module
{
    private readonly StdConv2d conv1, conv2, conv3;
    private readonly GroupNorm norm1, norm2, norm3;
    private readonly StdConv2d? projection;
    private readonly GroupNorm? projectionNorm;

    public HybridStemUnit(HybridStemVariant variant, int inputs, int middle, int stride, int groups, ref Rng rng)
    {
        bool google = variant == HybridStemVariant.Google;
        WeightStandardisation scaling = google ? WeightStandardisation.Google : WeightStandardisation.Jeonsworld;
        int outputs = 4 * middle;
        norm1 = Child("gn1", new GroupNorm(groups, middle, 1e-6f));
        conv1 = Child("conv1", new StdConv2d(inputs, middle, 1, scaling, ref rng));
        norm2 = Child("gn2", new GroupNorm(groups, middle, 1e-6f));
        conv2 = Child("conv2", new StdConv2d(middle, middle, 3, scaling, ref rng, stride, 1, google));
        norm3 = Child("gn3", new GroupNorm(groups, outputs, 1e-6f));
        conv3 = Child("conv3", new StdConv2d(middle, outputs, 1, scaling, ref rng));
        if (stride == 1 && inputs == outputs) return;
        projection = Child("downsample", new StdConv2d(inputs, outputs, 1, scaling, ref rng, stride, same: google));
        projectionNorm = Child(
            "gn_proj", google ? new GroupNorm(groups, outputs, 1e-6f) : new GroupNorm(outputs, outputs, 1e-5f));
    }

    public Tensor Forward(Tensor x)
    {
        Tensor shortcut = projection is null ? x : projectionNorm!.Forward(projection.Forward(x));
        Tensor y = F.Relu(norm1.Forward(conv1.Forward(x)));
        y = F.Relu(norm2.Forward(conv2.Forward(y)));
        y = norm3.Forward(conv3.Forward(y));
        return F.Relu(shortcut + y);
    }
}
