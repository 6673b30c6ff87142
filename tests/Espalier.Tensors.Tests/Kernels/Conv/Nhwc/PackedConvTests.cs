using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Tests.Kernels;

[Collection("Workers")]
public sealed unsafe class PackedConvTests : IDisposable
{
    private readonly int threadsBefore = Workers.Threads;

    public static TheoryData<string> TileNames
    {
        get
        {
            var data = new TheoryData<string>();
            foreach (string tiles in new[] { "avx512", "avx2", "advsimd", "portable" })
                if (KernelInfo.Choose(tiles).Tiles.Name == tiles) data.Add(tiles);
            return data;
        }
    }

    public void Dispose() => Workers.Threads = threadsBefore;

    [Theory]
    [MemberData(nameof(TileNames))]
    public void MatchesTheSumForEveryKindOfLayer(string tiles)
    {
        foreach (ConvCase c in Layers())
        {
            foreach (int threads in new[] { 1, 2, 3 })
            {
                Workers.Threads = threads;
                c.Check((a, w, b) => Create(a, w, b, tiles));
            }
        }
    }

    [Theory]
    [MemberData(nameof(TileNames))]
    public void MatchesTheSumAtRandomShapes(string tiles)
    {
        var random = new Random(11);
        for (int round = 0; round < 150; round++)
        {
            ConvCase c = RandomCase(random);
            Workers.Threads = 1 + (round % 3);
            c.Check((a, w, b) => Create(a, w, b, tiles));
        }
    }

    [Fact]
    public void AnImageThatTheKernelDoesNotFitIntoGivesNothing() =>
        new ConvCase { Height = 2, Width = 5, Shape = new ConvShape(3, 3, 1, 0) }.Check((a, w, b) => Create(a, w, b, null));

    [Fact]
    public void TellsItsSizes()
    {
        float* weight = stackalloc float[24 * 8 * 9];
        using PackedConv conv = PackedConv.Create(8, 24, 1, weight, null, new ConvShape(3, 3, 1, 1));
        Assert.Equal((8, 24), (conv.Channels, conv.Outputs));
        Assert.True(conv.Bytes >= 24 * 8 * 9 * sizeof(float));
        Assert.Throws<ArgumentException>(() => PackedConv.Create(8, 24, 3, null, null, new ConvShape(3, 3, 1, 1)));
    }

    internal static PackedConv Create(ConvCase c, nint weight, nint bias, string? tiles) =>
        PackedConv.Create(
            c.Channels, c.Outputs, c.Groups, (float*)weight, (float*)bias, c.Shape, KernelInfo.Choose(tiles).Tiles);

    // Small ones of what networks have.
    private static IEnumerable<ConvCase> Layers()
    {
        yield return new ConvCase { Height = 20, Width = 21, Channels = 3, Outputs = 37, Shape = new(7, 7, 2, 3), Images = 2 };
        yield return new ConvCase
        {
            Height = 14, Width = 14, Channels = 64,
            Outputs = 64, Residual = true, Activation = Activation.Relu,
        };
        yield return new ConvCase { Height = 7, Width = 7, Channels = 200, Outputs = 96, Shape = new(1, 1, 2, 0), Images = 3 };
        yield return new ConvCase
        {
            Height = 14, Width = 14, Channels = 40,
            Outputs = 48, Shape = new(3, 3, 1, 1), Activation = Activation.Relu6,
        };
        yield return new ConvCase { Height = 7, Width = 7, Channels = 33, Outputs = 65, Shape = new(3, 3, 1, 1), Images = 3 };
        yield return new ConvCase
        {
            Height = 9, Width = 15, Channels = 32,
            Outputs = 32, Shape = new(3, 3, 2, 1), Prologue = true,
        };
        yield return new ConvCase { Height = 7, Width = 8, Channels = 70, Outputs = 128, Prologue = true, Bias = false };
        yield return new ConvCase { Height = 10, Width = 9, Channels = 32, Outputs = 64, Groups = 4, Shape = new(3, 3, 1, 1) };
        yield return new ConvCase { Height = 12, Width = 13, Channels = 40, Outputs = 40, Groups = 40, Shape = new(3, 3, 1, 1) };
        yield return new ConvCase
        {
            Height = 21, Width = 30, Channels = 19, Outputs = 19,
            Groups = 19, Shape = new(5, 5, 2, 2), Images = 2,
        };
        yield return new ConvCase
        {
            Height = 7, Width = 7, Channels = 48, Outputs = 48,
            Groups = 48, Shape = new(3, 3, 1, 1), Prologue = true,
        };
        yield return new ConvCase
        {
            Height = 6, Width = 5, Channels = 12,
            Outputs = 20, InPlace = true, Activation = Activation.Silu,
        };
        yield return new ConvCase { Height = 6, Width = 5, Channels = 12, Outputs = 20, Activation = Activation.Sigmoid };
        // The two halves of a 3 x 3 kernel of stride 2.
        yield return new ConvCase
        {
            Height = 15, Width = 14, Channels = 33, Outputs = 40, Shape = new(3, 1, new(2, 1), new(1, 1, 0, 0)), Images = 2,
        };
        yield return new ConvCase { Height = 8, Width = 29, Channels = 16, Outputs = 33, Shape = new(1, 3, new(1, 2), new(0, 0, 1, 1)) };
        yield return new ConvCase
        {
            Height = 13, Width = 12, Channels = 20, Outputs = 20, Groups = 20, Shape = new(3, 3, new(3, 2), 1), Images = 2,
        };
        foreach (Activation f in (Activation[])[Activation.Relu, Activation.Relu6])
        {
            yield return new ConvCase { Channels = 48, Outputs = 70, NaN = true, Residual = true, Activation = f };
            yield return new ConvCase { Groups = 16, NaN = true, Prologue = true, Residual = true, Activation = f };
            yield return new ConvCase { Shape = new(3, 3, 1, 1), NaN = true, Residual = true, Activation = f };
        }
    }

    private static Strides RandomStrides(Random random)
    {
        int rows = random.Next(1, 4);
        return new Strides(rows, random.Next(2) == 0 ? random.Next(1, 4) : rows);
    }

    private static ConvCase RandomCase(Random random)
    {
        int kernel = random.Next(1, 6), groups = random.Next(4) == 0 ? random.Next(2, 5) : 1;
        int inputs = random.Next(1, 40), outputs = random.Next(1, 70);
        bool depthwise = random.Next(4) == 0;
        return new ConvCase
        {
            Images = random.Next(1, 4),
            Height = random.Next(1, 18),
            Width = random.Next(1, 32),
            Channels = depthwise ? inputs : inputs * groups,
            Outputs = depthwise ? inputs : outputs * groups,
            Groups = depthwise ? inputs : groups,
            Shape = new ConvShape(
                kernel, random.Next(3) == 0 ? random.Next(1, 6) : kernel, RandomStrides(random),
                new Padding(random.Next(0, 3), random.Next(0, 3), random.Next(0, 3), random.Next(0, 3)), random.Next(1, 3)),
            Gap = random.Next(0, 3) * 8,
            Bias = random.Next(2) == 0,
            Residual = random.Next(2) == 0,
            Prologue = random.Next(3) == 0,
            Activation = (Activation)random.Next(0, 5),
            NaN = random.Next(2) == 0,
        };
    }
}
