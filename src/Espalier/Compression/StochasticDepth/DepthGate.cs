using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Lets a residual block's branch take part in training at random. In evaluation every branch runs, times its survival
/// probability; or as it is, where training divided by that probability (<paramref name="inverted"/>).
/// </summary>
/// <param name="survival">In (0, 1]; at 1 nothing is drawn.</param>
/// <param name="perSample">Whether each image is decided on; the branch then runs for all of them.</param>
internal sealed class DepthGate(double survival, bool perSample = false, bool inverted = false) : IResidualGate
{
    private Func<double> uniform = () => throw new InvalidOperationException("nothing was drawn for this step");

    public double Survival => survival;

    /// <summary>Whether the branch runs in training until the next draw.</summary>
    public bool IsOpen { get; private set; } = true;

    /// <summary>What the trained branch is to be multiplied with, so that the plain sum gives what evaluation gave.</summary>
    public float Factor => inverted ? 1 : (float)survival;

    /// <summary>Decides for the next step.</summary>
    /// <param name="uniform">Gives numbers in [0, 1): one is taken for a batch, or later one for each image.</param>
    public void Draw(Func<double> uniform)
    {
        this.uniform = uniform;
        if (!perSample) IsOpen = Survives();
    }

    /// <inheritdoc/>
    public Tensor Join(ResidualBlock block, Tensor x)
    {
        Tensor shortcut = block.Shortcut(x);
        if (block.Training && !IsOpen) return shortcut;
        Tensor branch = block.Branch(x);
        // A branch that lost channels is brought to the stream's width first: the constants of those are part of it.
        if (block.Scatter is not null) branch = block.Sum(branch, Tensor.Zeros(shortcut.Shape));
        if (!block.Training) return F.Add(Times(branch, Factor), shortcut);
        float scale = inverted ? (float)(1 / survival) : 1;
        branch = perSample && survival < 1 ? F.Mul(branch, Mask(x.Shape[0], scale)) : Times(branch, scale);
        return F.Add(branch, shortcut);
    }

    /// <summary>[images, 1, 1, 1]: <paramref name="scale"/> where the branch takes part, else 0.</summary>
    private Tensor Mask(int images, float scale)
    {
        Tensor mask = Tensor.Zeros(new Shape(images, 1, 1, 1));
        foreach (ref float m in mask.Span) if (Survives()) m = scale;
        return mask;
    }

    private bool Survives() => survival >= 1 || uniform() >= 1 - survival;

    private static Tensor Times(Tensor x, float factor) => factor == 1 ? x : F.Mul(x, factor);
}
