namespace Espalier.Cli.Tests.Verbs;

public sealed class CompressReprTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void A_way_to_train_leaves_the_size_as_it_is()
    {
        string file = folder.File("full.safetensors");
        Outcome done = Tool.Run("compress", "repr", "--model-type", "vanilla-c3", "--width", "0.25", "--img-size", "16", "--data",
            "fashion-mnist-sample", "--train-steps", "6", "--batch-size", "16", "--set", "end=full,first=2,thin=1", "--output", file)
            .MustSucceed();
        Assert.Contains("1.000", done.Out);
        Assert.DoesNotContain("differs from the masked network", done.Out);
        using Model loaded = Model.Open(file), whole = Whole(loaded);
        Assert.Equal(whole.ParameterCount, loaded.ParameterCount);
    }

    [Fact]
    public void Filters_that_are_away_at_the_end_are_removed()
    {
        string file = folder.File("thin.safetensors");
        Outcome done = Tool.Run("compress", "repr", "--model-type", "resnet20", "--width", "0.25", "--img-size", "16", "--data",
            "fashion-mnist-sample", "--train-steps", "6", "--fine-tune-steps", "1", "--batch-size", "16", "--target-flops", "0.6",
            "--set", "first=1,thin=1,rank=layer", "--output", file).MustSucceed();
        Assert.Contains("differs from the masked network", done.Out);
        using Model loaded = Model.Open(file), whole = Whole(loaded);
        Assert.True(loaded.ParameterCount < whole.ParameterCount);
    }

    /// <summary>The network that it was, by its card.</summary>
    private static Model Whole(Model small) =>
        Model.Create(small.Card.Architecture!, small.NumClasses, small.Channels, small.ImageSize, width: 0.25);

    [Fact]
    public void Too_few_steps_are_one_line() => Assert.Contains("--train-steps", Tool.Run("compress", "repr", "--model-type",
        "vanilla-c3", "--img-size", "16", "--data", "fashion-mnist-sample", "--set", "end=full").MustFail(2));
}
