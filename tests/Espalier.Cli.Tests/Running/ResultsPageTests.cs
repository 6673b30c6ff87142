using Espalier.Cli.Running;

namespace Espalier.Cli.Tests.Running;

public sealed class ResultsPageTests
{
    private const string Page = "# Results\n\n## One\n\nfirst\n\n```bash\n## not a heading\n```\n\n## Two\n\nsecond\n";

    [Fact]
    public void A_section_takes_the_place_of_its_older_self() =>
        Assert.Equal(Page.Replace("first\n\n```bash\n## not a heading\n```", "newer", StringComparison.Ordinal),
            ResultsPage.Replaced(Page, "## One\n\nnewer\n"));

    [Fact]
    public void A_new_section_comes_last() => Assert.Equal(Page + "\n## Three\n\nthird\n", ResultsPage.Replaced(Page, "## Three\n\nthird\n"));

    [Fact]
    public void The_same_section_again_changes_nothing() => Assert.Equal(Page, ResultsPage.Replaced(Page, "## Two\n\nsecond\n"));

    [Fact]
    public void A_page_is_begun_where_there_is_none()
    {
        using var folder = new TemporaryFolder();
        string path = folder.File("results.md");
        ResultsPage.Write(path, "## One\n\nfirst\n");
        ResultsPage.Write(path, "## Two\n\nsecond\n");
        Assert.Equal("# Results\n\n## One\n\nfirst\n\n## Two\n\nsecond\n", File.ReadAllText(path));
    }
}
