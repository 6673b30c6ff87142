namespace Espalier.Tensors.Tests.Kernels.Conv;

/// <summary>
/// Batches of several images take other paths than single images (planes, small maps); single images are held against PyTorch's
/// values elsewhere.
/// </summary>
public sealed class BatchedConvolutionTests
{
    private const int Batch = 6;

    public static TheoryData<int, int, int, int, int, int, string> Cases => new()
    {
        // channels, outputs, height, width, kernel, dilation, padding
        { 3, 7, 13, 17, 3, 1, "1" },
        { 16, 16, 28, 28, 3, 1, "1" },
        { 5, 9, 15, 14, 3, 2, "2" },
        { 4, 12, 16, 12, 5, 1, "2" },
        { 70, 6, 14, 14, 3, 1, "1" },
        { 8, 11, 9, 8, 3, 1, "1" },
        { 6, 8, 14, 20, 3, 1, "0,2,1,1" },
        { 9, 13, 5, 6, 3, 1, "1" },
        { 7, 5, 1, 1, 3, 1, "1" },
        { 7, 5, 9, 9, 3, 1, "0" },
        { 12, 10, 4, 4, 1, 1, "0" },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void EqualsTheImagesOneByOne(
        int channels, int outputs, int height, int width, int kernel, int dilation, string padding) =>
        Check(channels, outputs, height, width, kernel, stride: 1, dilation, padding);

    [Theory]
    [InlineData(6, 9, 11, 3)]
    [InlineData(16, 32, 14, 3)]
    [InlineData(16, 24, 12, 1)]
    public void EqualsTheImagesOneByOneWithStride(int channels, int outputs, int size, int kernel) =>
        Check(channels, outputs, size, size, kernel, stride: 2, dilation: 1, kernel == 3 ? "1" : "0");

    private static void Check(
        int channels, int outputs, int height, int width, int kernel, int stride, int dilation, string padding)
    {
        int[] sides = [.. padding.Split(',').Select(int.Parse)];
        Padding border = sides.Length == 1 ? sides[0] : new Padding(sides[0], sides[1], sides[2], sides[3]);
        using var scope = new Scope();
        var rng = new Rng(3);
        Tensor x = Random(new Shape(Batch, channels, height, width), ref rng), bias = Random(new Shape(outputs), ref rng);
        Tensor weight = Random(new Shape(outputs, channels, kernel, kernel), ref rng);
        x.RequiresGrad = weight.RequiresGrad = true;
        using var recording = new Recording();
        Tensor y = F.Conv2d(x, weight, bias, stride, border, dilation);
        Tensor dy = Random(y.Shape, ref rng);
        float[] gradient = dy.ToArray();
        recording.Backward(y, dy);

        float[] sum = new float[weight.Length];
        for (int n = 0; n < Batch; n++)
        {
            Tensor one = Part(x, n), kernels = Tensor.Zeros(weight.Shape);
            weight.Span.CopyTo(kernels.Span);
            one.RequiresGrad = kernels.RequiresGrad = true;
            using var single = new Recording();
            Tensor expected = F.Conv2d(one, kernels, bias, stride, border, dilation);
            Close(expected.Span, y.Span.Slice(n * (int)expected.Length, (int)expected.Length), 1e-4f);
            var d = new Tensor(expected.Shape);
            gradient.AsSpan(n * (int)d.Length, (int)d.Length).CopyTo(d.Span);
            single.Backward(expected, d);
            Close(one.Grad!.Span, x.Grad!.Span.Slice(n * (int)one.Length, (int)one.Length), 1e-4f);
            for (int i = 0; i < sum.Length; i++) sum[i] += kernels.Grad!.Span[i];
        }
        Close(sum, weight.Grad!.Span, 1e-3f);
    }

    private static Tensor Part(Tensor x, int n)
    {
        var part = new Tensor(new Shape(1, x.Shape[1], x.Shape[2], x.Shape[3]));
        x.Span.Slice(n * (int)part.Length, (int)part.Length).CopyTo(part.Span);
        return part;
    }

    private static Tensor Random(Shape shape, ref Rng rng)
    {
        var t = new Tensor(shape);
        foreach (ref float v in t.Span) v = rng.NextNormal();
        return t;
    }

    private static void Close(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, float tolerance)
    {
        Assert.Equal(expected.Length, actual.Length);
        float scale = 1;
        foreach (float v in expected) scale = Math.Max(scale, Math.Abs(v));
        for (int i = 0; i < expected.Length; i++)
            Assert.True(Math.Abs(expected[i] - actual[i]) <= tolerance * scale, $"{i}: {expected[i]} and {actual[i]}");
    }
}
