using Espalier.Inference;

namespace Espalier.Tests.Inference;

/// <summary>How many images a thread takes at a time.</summary>
public sealed class SchedulerTests
{
    private const long ImageFloats = 900_000, MiB = 1 << 20;

    /// <summary>ViT-B/16's weights are read once for all images of a thread; those of a small network stay in the cache, and then its
    /// maps should, too.</summary>
    [Theory]
    [InlineData(344 * MiB, 16, 8)]
    [InlineData(86 * MiB, 8, 2)]
    [InlineData(20 * MiB, 16, 1)]
    public void HeavyWeightsAreSharedByAChunk(long weights, int batch, int images)
    {
        Assert.Equal(images, Scheduler.Pieces(ImageFloats, weights, tokens: 197, batch, threads: 2).Chunk);
        Assert.Equal(images, Scheduler.Pieces(ImageFloats, weights, tokens: 197, batch, threads: 2, uneven: true).Chunk);
    }

    /// <summary>Images that come to differ in length are dealt out in two rounds at least.</summary>
    [Fact]
    public void UnevenImagesAreDealtOutInRounds()
    {
        Assert.Equal((8, 1), Piece(uneven: false));
        Assert.Equal((4, 2), Piece(uneven: true));

        static (int, int) Piece(bool uneven)
        {
            var (_, chunk, rounds) = Scheduler.Pieces(10_000, MiB, tokens: 50, batch: 16, threads: 2, uneven);
            return (chunk, rounds);
        }
    }
}
