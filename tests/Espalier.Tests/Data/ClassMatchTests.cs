using Espalier.Data;

namespace Espalier.Tests.Data;

public sealed class ClassMatchTests
{
    private static readonly string[] Model = ["cat", "dog", "T-shirt/top", "bird"];

    private static MemoryDataset Data(params string[] names) =>
        new("folder", names, 1, 1, 1, new byte[names.Length], [.. Enumerable.Range(0, names.Length).Select(i => (byte)i)]);

    private static int[] Labels(IImageDataset data) => [.. Enumerable.Range(0, data.Count).Select(data.Label)];

    [Fact]
    public void LabelsFollowTheModelsNames()
    {
        ClassMatch match = ClassMatch.Of(Data("bird", "dog"), Model, "m.safetensors");
        Assert.Equal([3, 1], Labels(match.Data));
        Assert.Equal((4, false), (match.Data.Classes, match.InOrder));
        Assert.Equal(Model, match.Data.ClassNames);
        Assert.Equal(["cat", "T-shirt/top"], match.Missing);
    }

    [Fact]
    public void SignsAndCaseDoNotCount() =>
        Assert.Equal([2, 0, 1], Labels(ClassMatch.Of(Data("T_shirt_top", "Cat", "DOG"), Model, "m").Data));

    [Fact]
    public void TheSameNamesStayAsTheyAre()
    {
        MemoryDataset same = Data("cat", "dog", "T-shirt/top", "bird");
        Assert.Same(same, ClassMatch.Of(same, Model, "m").Data);
        Assert.Same(same, ClassMatch.Of(same, null, "m").Data);
        Assert.Same(same, ClassMatch.Of(same, [], "m").Data);
    }

    [Fact]
    public void ClassesThatTheModelDoesNotKnowAreRefused()
    {
        Assert.Equal("folder: frog is no class of m.safetensors, which knows cat, dog, T-shirt/top, bird; rename or remove what "
            + "does not belong there.", Refusal("m.safetensors", "cat", "frog"));
        Assert.Contains("are one of", Refusal("m", "Cat", "cat"));

        static string Refusal(string model, params string[] names) =>
            Assert.Throws<EspalierException>(() => ClassMatch.Of(Data(names), Model, model)).Message;
    }

    [Fact]
    public void OtherNamesAltogetherAreTakenInOrder()
    {
        ClassMatch match = ClassMatch.Of(Data("0", "1"), Model, "m");
        Assert.True(match.InOrder);
        Assert.Equal([0, 1], Labels(match.Data));
    }

    [Fact]
    public void ManyNamesAreShortened() =>
        Assert.Equal("a, b, c, d, e and 2 more", ClassMatch.Some(["a", "b", "c", "d", "e", "f", "g"]));
}
