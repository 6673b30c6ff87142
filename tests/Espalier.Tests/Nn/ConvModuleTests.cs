using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Tests.Nn;

public class ConvModuleTests
{
    [Fact]
    public void NamesAreThoseOfPyTorch()
    {
        var rng = new Rng(1);
        using var conv = new Conv2d(4, 6, 3, ref rng, groups: 2);
        using var batchNorm = new BatchNorm2d(6);
        using var groupNorm = new GroupNorm(3, 6);
        using var bare = new Conv2d(4, 6, 3, ref rng, bias: false);
        Assert.Equal(["weight", "bias"], conv.StateDict().Select(p => p.Name));
        Assert.Equal(new Shape(6, 2, 3, 3), conv.Weight.Shape);
        Assert.Equal(["weight", "bias", "running_mean", "running_var"], batchNorm.StateDict().Select(p => p.Name));
        Assert.Equal(["weight", "bias"], groupNorm.StateDict().Select(p => p.Name));
        Assert.Equal(["weight"], bare.StateDict().Select(p => p.Name));
    }

    [Fact]
    public void ConvolutionsStartUniformWithinTheInverseRootOfTheFanIn()
    {
        var rng = new Rng(1);
        using var conv = new Conv2d(16, 64, 3, ref rng);
        float bound = 1 / MathF.Sqrt(16 * 9);
        Assert.InRange(conv.Weight.ToArray().Max(), 0.99f * bound, bound);
        Assert.InRange(conv.Weight.ToArray().Min(), -bound, -0.99f * bound);
        Assert.InRange(conv.Bias!.ToArray().Max(), 0.5f * bound, bound);
    }

    [Fact]
    public void BatchNormLearnsTheStatisticsThatItThenUses()
    {
        using var scope = new Scope();
        using var norm = new BatchNorm2d(1, momentum: 1);
        Tensor x = Tensor.From(new Shape(1, 1, 2, 2), [1, 2, 3, 6]);
        norm.Forward(x);
        Assert.Equal(3, norm.RunningMean.Item());
        Assert.Equal(14f / 3, norm.RunningVariance.Item(), 1e-6f);

        norm.Training = false;
        float[] y = norm.Forward(x).ToArray();
        Assert.Equal(-2 / MathF.Sqrt(14f / 3), y[0], 1e-5f);
    }

    [Fact]
    public void SamePaddingFollowsTheInput()
    {
        using var scope = new Scope();
        var rng = new Rng(1);
        using var conv = new Conv2d(1, 1, 3, ref rng, stride: 2, same: true);
        using var standard = new StdConv2d(1, 1, 3, WeightStandardisation.Timm, ref rng, stride: 2, same: true);
        using var pool = new MaxPool2d(3, 2, same: true);
        foreach (int size in (int[])[6, 7])
        {
            Tensor x = Tensor.Zeros(new Shape(1, 1, size, size + 2));
            var half = new Shape(1, 1, (size + 1) / 2, (size + 3) / 2);
            Assert.Equal(half, conv.Forward(x).Shape);
            Assert.Equal(half, standard.Forward(x).Shape);
            Assert.Equal(half, pool.Forward(x).Shape);
        }
    }

    [Fact]
    public void AStandardisedConvolutionDoesNotSeeShiftAndScaleOfItsWeight()
    {
        using var scope = new Scope();
        var rng = new Rng(1);
        using var conv = new StdConv2d(2, 3, 3, WeightStandardisation.Timm, ref rng, padding: 1);
        var x = new Tensor(new Shape(1, 2, 5, 5));
        Init.Normal(x, 1, ref rng);
        float[] before = conv.Forward(x).ToArray();
        foreach (ref float w in conv.Weight.Span) w = 3 * w + 0.5f;
        foreach (var (expected, actual) in before.Zip(conv.Forward(x).ToArray())) Assert.Equal(expected, actual, 1e-3f);
    }

    [Fact]
    public void PoolsKeepTheirSettings()
    {
        using var scope = new Scope();
        Tensor x = Tensor.From(new Shape(1, 1, 2, 2), [1, 2, 3, 4]);
        using var average = new AvgPool2d(2, padding: 1, countIncludePad: false);
        using var global = new GlobalAvgPool2d();
        Assert.Equal([1, 2, 3, 4], average.Forward(x).ToArray());
        Assert.Equal([2.5f], global.Forward(x).ToArray());
    }

    [Fact]
    public void ChannelsThatDoNotDivideAreRefused()
    {
        var rng = new Rng(1);
        Assert.Throws<ArgumentException>(() => new Conv2d(3, 4, 1, ref rng, groups: 2));
        Assert.Throws<ArgumentException>(() => new GroupNorm(4, 6));
    }
}
