namespace Espalier.Tensors.Tests;

public class RngTests
{
    // Computed by a separate implementation of SplitMix64 and xoshiro256**.
    [Fact]
    public void SequenceIsThatOfXoshiro()
    {
        var rng = new Rng(42);
        ulong[] expected = [0xc986fd807e5b8ab5, 0xe071ea15f19664d1, 0x728624137f1e7291, 0x1a320ab331d48e7d];
        foreach (ulong value in expected) Assert.Equal(value, rng.NextULong());
        Assert.Equal(0x66dcfee52f7d9473UL, new Rng(42, 1).NextULong());
        Assert.Equal(0xa2e9b0c065b9c750UL, new Rng(42, 0, 1).NextULong());
        rng = new Rng(7);
        float[] floats = [rng.NextFloat(), rng.NextFloat(), rng.NextFloat()];
        Assert.Equal([0.8739119172096252f, 0.5578473210334778f, 0.15277767181396484f], floats);
    }

    [Fact]
    public void RestoredStateGoesOnAlike()
    {
        var rng = new Rng(3);
        rng.NextNormal();
        Rng copy = Rng.Restore(rng.Save());
        for (int i = 0; i < 10; i++) Assert.Equal(rng.NextNormal(), copy.NextNormal());
        Assert.Throws<ArgumentException>(() => Rng.Restore([1, 2, 3]));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(10)]
    public void IntegersAreEvenlySpread(int bound)
    {
        const int Draws = 60_000;
        var rng = new Rng(11);
        var counts = new int[bound];
        for (int i = 0; i < Draws; i++) counts[rng.NextInt(bound)]++;
        // Six standard deviations of a binomial count.
        double mean = (double)Draws / bound, margin = 6 * Math.Sqrt(mean * (1 - 1.0 / bound));
        Assert.All(counts, c => Assert.InRange(c, mean - margin, mean + margin));
        Assert.Throws<ArgumentOutOfRangeException>(() => rng.NextInt(0));
    }

    [Fact]
    public void FloatsAreBelowOneAndNormalsAreNormal()
    {
        const int Draws = 100_000;
        var rng = new Rng(5);
        double sum = 0, squares = 0, cubes = 0, fourths = 0;
        for (int i = 0; i < Draws; i++)
        {
            Assert.InRange(rng.NextFloat(), 0, 0.99999999f);
            double z = rng.NextNormal();
            sum += z;
            squares += z * z;
            cubes += z * z * z;
            fourths += z * z * z * z;
        }
        Assert.Equal(0, sum / Draws, 0.02);
        Assert.Equal(1, squares / Draws, 0.03);
        Assert.Equal(0, cubes / Draws, 0.06);
        Assert.Equal(3, fourths / Draws, 0.2);
    }

    [Fact]
    public void ShuffleIsAPermutationAndEveryOneOccurs()
    {
        var rng = new Rng(9);
        var seen = new Dictionary<string, int>();
        for (int i = 0; i < 6000; i++)
        {
            char[] items = ['a', 'b', 'c'];
            rng.Shuffle<char>(items);
            string order = new(items);
            seen[order] = seen.GetValueOrDefault(order) + 1;
        }
        Assert.Equal(6, seen.Count);
        Assert.All(seen.Values, n => Assert.InRange(n, 820, 1180));
    }
}
