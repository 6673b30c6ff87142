using Espalier.Compression;
using Espalier.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace Espalier.Tests.Compression.RePr;

public sealed class PivotedQrTests
{
    [Theory]
    [InlineData(32, 27, 0)]
    [InlineData(32, 288, 256)]
    [InlineData(1, 5, 4)]
    [InlineData(0, 5, 5)]
    [InlineData(7, 7, 0)]
    public void RandomVectorsHaveFullRank(int count, int length, int nullDimension)
    {
        var rng = new Rng(3);
        Assert.Equal(nullDimension, new PivotedQr(Random(count, length, ref rng), length).NullDimension);
    }

    /// <summary>Combinations of three vectors, at very different scales.</summary>
    [Fact]
    public void DependentVectorsDoNotCount()
    {
        var rng = new Rng(4);
        double[][] basis = Random(3, 40, ref rng), vectors = new double[9][];
        for (int i = 0; i < vectors.Length; i++)
        {
            vectors[i] = new double[40];
            foreach (double[] b in basis)
                TensorPrimitives.MultiplyAdd(b, Math.Pow(10, i % 4) * rng.NextNormal(), vectors[i], vectors[i]);
        }
        Assert.Equal(3, new PivotedQr(vectors, 40).Rank);
        Assert.Equal(0, new PivotedQr([new double[4], new double[4]], 4).Rank);
        Assert.Equal(1, new PivotedQr([[1, 2], [1, 2], [-2, -4]], 2).Rank);
    }

    [Theory]
    [InlineData(5, 9, 4)]
    [InlineData(32, 288, 40)]
    [InlineData(0, 6, 6)]
    public void DirectionsAreOrthogonalToAllAndToOneAnother(int count, int length, int wanted)
    {
        var rng = new Rng(6);
        double[][] vectors = Random(count, length, ref rng);
        double[][] copies = [.. vectors.Select(v => (double[])v.Clone())];
        double[][] found = new PivotedQr(vectors, length).NullDirections(wanted, ref rng);
        Assert.Equal(wanted, found.Length);
        Assert.Equal(copies, vectors);
        foreach (double[] v in found)
        {
            Assert.Equal(1, TensorPrimitives.Norm<double>(v), 1e-12);
            Assert.All(vectors, w => Assert.Equal(0, TensorPrimitives.Dot<double>(v, w), 1e-12));
            Assert.All(found.Where(w => w != v), w => Assert.Equal(0, TensorPrimitives.Dot<double>(v, w), 1e-12));
        }
    }

    [Fact]
    public void TheOnlyDirectionLeftIsFound()
    {
        var rng = new Rng(7);
        double[] v = new PivotedQr([[0, 1, 0], [1, 0, 0]], 3).NullDirections(1, ref rng)[0];
        Assert.Equal([0, 0, 1], v.Select(Math.Abs));
        Assert.Throws<ArgumentOutOfRangeException>(() => new PivotedQr([[0, 1, 0], [1, 0, 0]], 3).NullDirections(2, ref rng));
    }

    private static double[][] Random(int count, int length, ref Rng rng)
    {
        var vectors = new double[count][];
        for (int i = 0; i < count; i++)
        {
            vectors[i] = new double[length];
            foreach (ref double x in vectors[i].AsSpan()) x = rng.NextNormal();
        }
        return vectors;
    }
}
