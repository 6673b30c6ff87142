using Espalier.Compression;
using Espalier.Data;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Calibration;

public sealed class CalibrationImagesTests
{
    private static readonly ImagePipeline Pipeline = ImagePipeline.Eval(28, 1);

    [Theory]
    [InlineData(200, new[] { 64, 64, 64, 8 })]
    [InlineData(100, new[] { 50, 50 })]
    [InlineData(7, new[] { 4, 3 })]
    [InlineData(1, new[] { 1 })]
    public void Spread_over_the_data_set_in_two_batches_at_least(int count, int[] batches)
    {
        IImageDataset data = Datasets.OpenSample().Train;
        IEnumerable<Tensor> images = CalibrationImages.Of(data, Pipeline, count);
        Assert.Equal(batches, images.Select(b => b.Shape[0]));
        // The last is far into the data set; asked for again it is the same.
        float[] last = [];
        foreach (Tensor batch in images) last = batch.ToArray();
        var expected = new float[28 * 28];
        var rng = new Rng(0);
        Pipeline.Run(data.ReadImage((int)((count - 1L) * data.Count / count)), ref rng, expected);
        Assert.Equal(expected, last[^expected.Length..]);
    }

    [Fact]
    public void All_there_are_where_more_are_asked_for()
    {
        IImageDataset data = Subset.First(Datasets.OpenSample().Train, 10);
        Assert.Equal(10, CalibrationImages.Of(data, Pipeline, 500).Sum(b => b.Shape[0]));
    }
}
