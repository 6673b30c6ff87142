using System.Text.Json;
using Espalier.Optim;
using Espalier.Tensors;
using static Espalier.Tests.Optim.OptimGolden;

namespace Espalier.Tests.Optim;

public sealed class GradientClipTests
{
    [Fact]
    public void FollowsPyTorch()
    {
        using Tensor a = Parameter(new float[5]), b = Parameter(new float[17]), without = Parameter(1);
        foreach (JsonElement expected in Root.GetProperty("clip").EnumerateArray())
        {
            foreach (Tensor p in new[] { a, b })
            {
                SetGrad(p, p.Span);
                for (int i = 0; i < p.Length; i++) p.Grad!.Span[i] = (i + 1) / 10f;
            }
            double norm = GradientClip.ByGlobalNorm([a, without, b], expected.GetProperty("limit").GetSingle());
            Assert.Equal(expected.GetProperty("norm").GetDouble(), norm, 1e-5);
            AssertClose(Floats(expected.GetProperty("gradients")[0]), a.Grad!.Span);
            AssertClose(Floats(expected.GetProperty("gradients")[1]), b.Grad!.Span);
        }
        Assert.Null(without.Grad);
    }

    [Fact]
    public void SumsInDoublePrecision()
    {
        const int size = 1 << 20;
        using Tensor p = Parameter(new float[size]);
        float[] gradient = new float[size];
        Array.Fill(gradient, 1e-4f);
        gradient[0] = 100;
        SetGrad(p, gradient);
        Assert.Equal(Math.Sqrt(1e4 + (size - 1) * Math.Pow(1e-4f, 2)), GradientClip.Norm([p]), 1e-9);
    }
}
