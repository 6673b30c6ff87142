using Espalier.Data;
using Espalier.Evaluation;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Benchmarking;

public sealed class ModelSpeedTests
{
    [Fact]
    public void Every_pass_of_a_model_has_all_its_batches_in_order()
    {
        using var scope = new Scope();
        Tensor[] first = [Tensor.Zeros(new Shape(4, 1)), Tensor.Zeros(new Shape(3, 1))], second = [Tensor.Zeros(new Shape(5, 1))];
        var seen = new List<Tensor>();
        // Work that takes less than the clock can tell would have no finite rate.
        double[] rates = ModelSpeed.ImagesPerSecond([new(seen.Add, first), new(_ => Thread.SpinWait(2000), second)], rounds: 2);
        Assert.All(rates, rate => Assert.True(rate > 0 && double.IsFinite(rate), $"{rate} images a second"));
        Assert.True(seen.Count >= 4 * first.Length, $"{seen.Count} batches");
        Assert.Equal(Enumerable.Range(0, seen.Count).Select(i => first[i % 2]), seen);
    }

    [Fact]
    public void Batches_are_the_first_images_as_the_model_wants_them()
    {
        using var scope = new Scope();
        using var model = Session.Of(new VisionTransformer(VitPresets.Get("vit-tiny-28")));
        IReadOnlyList<Tensor> batches = ModelSpeed.Batches(FashionMnist.OpenSample().Test, model, size: 8, count: 3);
        Assert.Equal([new Shape(8, 1, 28, 28), new Shape(8, 1, 28, 28), new Shape(8, 1, 28, 28)], batches.Select(b => b.Shape));
        Assert.NotEqual(batches[0].ToArray(), batches[1].ToArray());
        Action<Tensor> pass = ModelSpeed.Pass(model, Pruning.None);
        foreach (Tensor batch in batches.Append(F.Slice(batches[0], 0, 0, 3))) pass(batch);
        Assert.Throws<ArgumentException>(() => pass(F.Slice(batches[0], 2, 0, 27)));
    }
}
