using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Kernels.Conv.Tiled;

/// <summary>The tiles against <see cref="Convolution"/>, which knows nothing of them; where the processor has none there is
/// nothing to test.</summary>
[Collection("Workers")]
public sealed unsafe class TiledConvolutionTests
{
    private const int Batch = 6;

    public static TheoryData<int, int, int, int, int, int, int, string> Cases => new()
    {
        // channels, outputs, height, width, kernel, stride, dilation, padding
        { 16, 16, 28, 28, 3, 1, 1, "1" },
        { 32, 17, 14, 14, 3, 1, 1, "1" },
        { 64, 40, 7, 7, 3, 1, 1, "1" },
        { 50, 9, 9, 8, 3, 1, 1, "1" },
        { 9, 33, 13, 17, 3, 1, 1, "1" },
        { 130, 6, 5, 6, 3, 1, 1, "1" },
        { 8, 12, 16, 12, 5, 1, 1, "2" },
        { 12, 9, 15, 14, 3, 1, 2, "2" },
        { 10, 8, 14, 20, 3, 1, 1, "0,2,1,1" },
        { 16, 8, 9, 9, 3, 1, 1, "0" },
        { 11, 7, 6, 6, 2, 1, 1, "2" },
        { 16, 32, 28, 28, 3, 2, 1, "1" },
        { 33, 15, 12, 11, 3, 2, 1, "0,1,0,1" },
        { 8, 14, 19, 18, 7, 2, 1, "3" },
        { 24, 10, 11, 12, 3, 3, 2, "1" },
        { 8, 16, 32, 32, 3, 1, 1, "1" },
        { 8, 20, 3, 60, 3, 1, 1, "1" },
        { 8, 5, 1, 1, 3, 1, 1, "1" },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public void EqualsTheConvolutionOfPlanes(
        int channels, int outputs, int height, int width, int kernel, int stride, int dilation, string padding)
    {
        if (ConvTile.Instance is null || KernelInfo.Tiles != TileSet.Avx512) return;
        int[] sides = [.. padding.Split(',').Select(int.Parse)];
        Padding border = sides.Length == 1 ? sides[0] : new Padding(sides[0], sides[1], sides[2], sides[3]);
        var window = new Window(height, width, kernel, kernel, stride, dilation, border);
        using var x = GuardedFloats.Random(Batch * channels * window.Area, 1);
        using var w = GuardedFloats.Random(outputs * channels * window.Taps, 2);
        using var dy = GuardedFloats.Random(Batch * outputs * window.OutArea, 3);
        using var bias = GuardedFloats.Random(outputs, 4);
        int before = Workers.Threads;
        try
        {
            foreach (int threads in (int[])[1, 2, 3])
            {
                Workers.Threads = threads;
                Check(new Pass(channels, outputs, window), x, w, bias, dy);
            }
        }
        finally
        {
            Workers.Threads = before;
        }
    }

    [Fact]
    public void OnlyOneGroupWithTapsAndImagesForEachThreadIsForTheTiles()
    {
        bool has = ConvTile.Instance is not null && KernelInfo.Tiles == TileSet.Avx512;
        var window = new Window(8, 8, 3, 3, 1, 1, 1);
        int threads = Workers.Threads;
        Assert.Equal(has, TiledConvolution.Fits(2 * threads, 1, window));
        Assert.False(TiledConvolution.Fits(2 * threads, 2, window));
        Assert.False(TiledConvolution.Fits(2 * threads, 1, new Window(8, 8, 1, 1, 1, 1, 0)));
        if (threads > 1) Assert.False(TiledConvolution.Fits(1, 1, window));
    }

    private static void Check(Pass pass, GuardedFloats x, GuardedFloats w, GuardedFloats bias, GuardedFloats dy)
    {
        var tiles = new TiledConvolution(Batch, pass.Channels, pass.Outputs, pass.Window);
        using var y = GuardedFloats.Random(dy.Length, 5);
        tiles.Forward(x.Pointer, w.Pointer, bias.Pointer, y.Pointer);
        pass.Close(pass.Forward(x, w, bias), y);

        // What is there already is written over, or added to.
        using var dx = GuardedFloats.Random(x.Length, 6);
        tiles.InputGradient(w.Pointer, dy.Pointer, dx.Pointer, accumulate: false);
        float[] inputs = pass.Backward(x, w, dy, ofInput: true);
        pass.Close(inputs, dx);
        tiles.InputGradient(w.Pointer, dy.Pointer, dx.Pointer, accumulate: true);
        pass.Close([.. inputs.Select(v => 2 * v)], dx);

        using var dw = GuardedFloats.Random(w.Length, 7);
        tiles.WeightGradient(x.Pointer, dy.Pointer, dw.Pointer, accumulate: false);
        float[] weights = pass.Backward(x, w, dy, ofInput: false), first = dw.Span.ToArray();
        pass.Close(weights, dw);
        tiles.WeightGradient(x.Pointer, dy.Pointer, dw.Pointer, accumulate: false);
        Assert.Equal(first, dw.Span.ToArray());
        tiles.WeightGradient(x.Pointer, dy.Pointer, dw.Pointer, accumulate: true);
        pass.Close([.. weights.Select(v => 2 * v)], dw);
    }

    /// <summary>What <see cref="Convolution"/> gives.</summary>
    private sealed record Pass(int Channels, int Outputs, Window Window)
    {
        private const float Tolerance = 1e-4f;

        private Convolution Planes => new(Batch, Channels, Outputs, groups: 1, Window);

        public float[] Forward(GuardedFloats x, GuardedFloats w, GuardedFloats bias)
        {
            float[] y = new float[Batch * Outputs * Window.OutArea];
            using var scratch = new NativeFloats((nint)Planes.ScratchLength);
            fixed (float* to = y) Planes.Forward(x.Pointer, w.Pointer, bias.Pointer, to, scratch.Data);
            return y;
        }

        public float[] Backward(GuardedFloats x, GuardedFloats w, GuardedFloats dy, bool ofInput)
        {
            using var scratch = new NativeFloats((nint)Planes.ScratchLength);
            float[] sums = new float[ofInput ? x.Length : Planes.Parts * w.Length];
            fixed (float* to = sums)
                Planes.Backward(x.Pointer, w.Pointer, dy.Pointer, ofInput ? to : null, ofInput ? null : to, scratch.Data);
            if (ofInput) return sums;
            int parts = Planes.Parts;
            return [.. Enumerable.Range(0, w.Length).Select(i => Enumerable.Range(0, parts).Sum(p => sums[p * w.Length + i]))];
        }

        public void Close(float[] expected, GuardedFloats actual)
        {
            float scale = Math.Max(1, expected.Max(Math.Abs));
            for (int i = 0; i < expected.Length; i++)
                Assert.True(Math.Abs(expected[i] - actual[i]) <= Tolerance * scale, $"{i}: {expected[i]} and {actual[i]}");
        }
    }
}
