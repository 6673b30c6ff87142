namespace Espalier.Reproduce.Tests;

public sealed class ResultsPageTests : IDisposable
{
    private const string Page = "# Results\n\n## One\n\nfirst\n\n```sh\n## not a heading\n```\n\n## Two\n\nsecond\n";

    private readonly string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Fact]
    public void A_section_takes_the_place_of_its_older_self() =>
        Assert.Equal(Page.Replace("first\n\n```sh\n## not a heading\n```", "newer", StringComparison.Ordinal),
            ResultsPage.Replaced(Page, "## One\n\nnewer\n"));

    [Fact]
    public void A_new_section_comes_last() =>
        Assert.Equal(Page + "\n## Three\n\nthird\n", ResultsPage.Replaced(Page, "## Three\n\nthird\n"));

    [Fact]
    public void The_same_section_again_changes_nothing() => Assert.Equal(Page, ResultsPage.Replaced(Page, "## Two\n\nsecond\n"));

    [Fact]
    public void A_page_is_begun_where_there_is_none()
    {
        string path = Path.Combine(folder, "results.md");
        ResultsPage.Write(path, "## One\n\nfirst\n");
        ResultsPage.Write(path, "## Two\n\nsecond\n");
        Assert.Equal("# Results\n\n## One\n\nfirst\n\n## Two\n\nsecond\n", File.ReadAllText(path));
    }
}
