using System.Text.RegularExpressions;
using Espalier.Imaging;
using Espalier.Reporting;

namespace Espalier.Tests.Reporting;

public sealed partial class TerminalPictureTests
{
    private static readonly int[][] Stages = [[0, 1, 2, 9, 30], [0, 1], [0]];

    [Theory]
    [InlineData(120, 7)]
    [InlineData(80, 7)]
    [InlineData(79, 14)]
    [InlineData(40, 14)]
    [InlineData(20, 7)]
    [InlineData(4, 14)]
    public void NoLineIsWiderThanAsked(int width, int grid)
    {
        var image = TokenPictureTests.Gradient(28, 28, 3);
        foreach (var colors in Enum.GetValues<TerminalColors>())
        {
            var lines = TerminalPicture.Render(image, grid, Stages, width, colors);
            Assert.All(lines, line => Assert.InRange(Escapes().Replace(line, "").Length, 0, width));
            Assert.Contains(lines, line => Escapes().Replace(line, "").Length >= Math.Min(width, grid));
            Assert.All(lines, line => Assert.DoesNotContain('\n', line));
        }
    }

    [Fact]
    public void ATallPictureStaysInSight()
    {
        var lines = TerminalPicture.Render(new Image(1, 3000, 1), 2, [], 20, TerminalColors.None);
        Assert.Equal((20, 20), (lines.Count, lines[0].Length));
    }

    [Fact]
    public void CharactersShowBrightnessAndDotsWhatWasDropped()
    {
        var image = new Image(4, 4, 1, [0, 0, 255, 255, 0, 0, 255, 255, 128, 128, 64, 64, 128, 128, 64, 64]);
        var lines = TerminalPicture.Render(image, 2, [[0, 2, 3]], 10, TerminalColors.None);
        Assert.Equal(["  @@  ··@@", "++::  ++··"], [lines[0], lines[^1].Replace('=', '+').Replace('-', ':')]);
        Assert.DoesNotContain('\e', string.Concat(lines));
    }

    [Fact]
    public void ColoursAreTheImagesOwnAndEveryLineResetsThem()
    {
        var image = new Image(2, 2, 3, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120]);
        var lines = TerminalPicture.Render(image, 2, [[0, 1, 4]], 6, TerminalColors.TrueColor);
        Assert.Equal("\e[48;2;70;80;90m\e[38;2;10;20;30m▀\e[48;2;100;110;120m\e[38;2;40;50;60m▀\e[0m  "
            + "\e[49m\e[38;2;10;20;30m▀\e[49m\e[38;2;100;110;120m▄\e[0m", Assert.Single(lines));
    }

    [GeneratedRegex("\e\\[[0-9;]*m")]
    private static partial Regex Escapes();
}
