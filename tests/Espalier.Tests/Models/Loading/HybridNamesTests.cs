using Espalier.Formats;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Models.Loading;

/// <summary>
/// Google's hybrid arrays against the parameters of the R50 stem: a published file is too large to keep here, so the arrays are
/// made from the published names and shapes.
/// </summary>
public sealed class HybridNamesTests
{
    [Fact]
    public void Every_published_array_finds_its_parameter_and_each_parameter_its_array()
    {
        var rng = new Rng(1);
        using var stem = new HybridStem(HybridStemVariant.Google, 3, ref rng);
        var expected = stem.NamedParameters().ToDictionary(p => "transformer.embeddings.hybrid_model." + p.Name, p => p.Value.Shape);

        var converted = new Dictionary<string, int[]>(ModelTensors.Of(new Checkpoint(Published())).Shapes);
        Assert.True(converted.Remove("transformer.embeddings.patch_embeddings.weight", out int[]? patches));
        Assert.Equal([8, 1024, 1, 1], patches);
        Assert.Equal(expected.Keys.Order(), converted.Keys.Order());
        foreach (var (name, shape) in converted) Assert.Equal(expected[name], new Shape(shape));
    }

    // Weights of a convolution are taken apart by position, in the order of the file: HWIO.
    [Fact]
    public void A_kernel_keeps_its_places()
    {
        float[] data = [.. Enumerable.Range(0, 7 * 7 * 3 * 64).Select(i => (float)i)];
        var file = new Checkpoint([new NamedArray("conv_root/kernel", [7, 7, 3, 64], data), Zeros("embedding/kernel", 1, 1, 1, 1)]);
        float[] w = ModelTensors.Of(file).Read("transformer.embeddings.hybrid_model.root.conv.weight");
        Assert.Equal(data[((2 * 7 + 5) * 3 + 1) * 64 + 40], w[((40 * 3 + 1) * 7 + 2) * 7 + 5]);
    }

    private static IEnumerable<NamedArray> Published()
    {
        yield return Zeros("embedding/kernel", 1, 1, 1024, 8);
        yield return Zeros("conv_root/kernel", 7, 7, 3, 64);
        foreach (NamedArray a in Norm("gn_root", 64)) yield return a;
        int inputs = 64;
        foreach (var (block, units, middle) in new[] { (1, 3, 64), (2, 4, 128), (3, 9, 256) })
        {
            for (int u = 1; u <= units; u++, inputs = 4 * middle)
            {
                string unit = $"block{block}/unit{u}/";
                yield return Zeros(unit + "conv1/kernel", 1, 1, inputs, middle);
                yield return Zeros(unit + "conv2/kernel", 3, 3, middle, middle);
                yield return Zeros(unit + "conv3/kernel", 1, 1, middle, 4 * middle);
                NamedArray[] norms = [.. Norm(unit + "gn1", middle), .. Norm(unit + "gn2", middle), .. Norm(unit + "gn3", 4 * middle)];
                foreach (NamedArray a in norms) yield return a;
                if (u > 1) continue;
                yield return Zeros(unit + "conv_proj/kernel", 1, 1, inputs, 4 * middle);
                foreach (NamedArray a in Norm(unit + "gn_proj", 4 * middle)) yield return a;
            }
        }
    }

    // Some files keep the axes that the norm is broadcast over.
    private static NamedArray[] Norm(string name, int channels) =>
        [Zeros(name + "/scale", 1, 1, 1, channels), Zeros(name + "/bias", channels)];

    private static NamedArray Zeros(string name, params int[] shape) =>
        new(name, shape, new float[shape.Aggregate(1, (product, n) => product * n)]);
}
