using System.Globalization;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Tensors;
using Espalier.Training;

namespace Espalier.Compression.Methods.StochasticDepth;

/// <summary>
/// Puts gates on all residual blocks of a network until it is disposed, and draws for each step anew; micro-batches of a step
/// share what was drawn.
/// </summary>
internal sealed class RandomDepth : ITrainingHook, IDisposable
{
    // Keeps the draws apart from those of mixing and dropout, which begin with the same numbers.
    private const ulong Stream = 0x64_65_70_74_68;

    private readonly StochasticDepth method;
    private readonly BlockGates put = new();

    /// <exception cref="EspalierException">There are no residual blocks.</exception>
    public RandomDepth(Module net, StochasticDepth method)
    {
        this.method = method;
        ResidualBlock[] blocks = [.. net.Descendants<ResidualBlock>().Where(b => b is { HasShortcut: true, IsRemoved: false })];
        if (blocks.Length == 0) throw new EspalierException("the model has no residual blocks, so there is no depth to vary");
        double[] survival = SurvivalRules.Of(method.Rule, blocks.Length, method.Survival);
        Gates = [.. blocks.Select((b, i) => (b, new DepthGate(survival[i], method.PerSample, method.Inverted)))];
        foreach (var (block, gate) in Gates) put.Put(block, gate);
    }

    /// <summary>In the order of the forward pass.</summary>
    public IReadOnlyList<(ResidualBlock Block, DepthGate Gate)> Gates { get; }

    /// <inheritdoc/>
    public IReadOnlyList<(string Name, string Value)> Identity =>
    [
        ("SurvivalRule", method.Rule.ToString()),
        ("Survival", method.Survival.ToString(CultureInfo.InvariantCulture)),
        ("DepthGranularity", method.PerSample ? "sample" : "batch"),
        ("DepthScaling", method.Inverted ? "inverted" : "inference"),
        ("FreezeSkipped", method.FreezeSkipped ? "yes" : "no"),
    ];

    /// <inheritdoc/>
    public void BeforeForward(in StepContext context)
    {
        if (context.MicroBatch > 0 && !method.PerSample) return;
        Rng rng = context.Rng, own = new(rng.NextULong(), Stream);
        foreach (var (_, gate) in Gates) gate.Draw(() => own.NextDouble());
    }

    /// <inheritdoc/>
    public void AfterBackward(in StepContext context)
    {
        if (method.FreezeSkipped) return;
        foreach (var (block, gate) in Gates)
        {
            if (gate.IsOpen) continue;
            // The shortcut ran; what has no gradient is of the branch.
            foreach (Tensor parameter in block.Parameters())
            {
                if (parameter is not { RequiresGrad: true, Grad: null }) continue;
                parameter.Grad = Tensor.Unscoped(parameter.Shape);
                parameter.Grad.Fill(0);
            }
        }
    }

    public void Dispose() => put.Dispose();
}

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

/// <summary>How likely a residual block is to run in training, by its place.</summary>
public enum SurvivalRule
{
    /// <summary>1 - l/L · (1 - p) for l from 1 to L (eq. 4 of the paper): already the first block may be left out.</summary>
    Linear,

    /// <summary>p for all.</summary>
    Uniform,

    /// <summary>1 - i/(L - 1) · (1 - p) for i from 0, as transformers have it: the first block always runs.</summary>
    Ramp,
}

/// <summary>See <see cref="SurvivalRule"/>.</summary>
internal static class SurvivalRules
{
    /// <summary>The probability of each block.</summary>
    /// <param name="last">That of the last, p, in (0, 1].</param>
    public static double[] Of(SurvivalRule rule, int blocks, double last) =>
    [
        .. Enumerable.Range(0, blocks).Select(i => rule switch
        {
            SurvivalRule.Linear => 1 - (i + 1.0) / blocks * (1 - last),
            SurvivalRule.Ramp => 1 - (double)i / Math.Max(1, blocks - 1) * (1 - last),
            _ => last,
        }),
    ];
}
