using System.Globalization;
using System.Text;
using Espalier.Imaging;

namespace Espalier.Reporting;

/// <summary>What a terminal can show.</summary>
public enum TerminalColors
{
    /// <summary>Characters only.</summary>
    None,

    /// <summary>24-bit colours by escape sequences.</summary>
    TrueColor,
}

/// <summary>
/// The panels of <see cref="TokenPicture"/> as lines of text. With colours a character is two pixels, one above the other
/// (half blocks); without, a shade of its brightness. Where both are dropped, a dot is left.
/// </summary>
public static class TerminalPicture
{
    private const string Shades = " .:-=+*#%@";
    private const char Dropped = '·';
    private const string DimDot = "\e[38;5;244m·";
    private const int Gap = 2, LargestPanel = 48;

    /// <summary>True colour where the terminal says so (COLORTERM) and neither NO_COLOR nor a redirection forbids it.</summary>
    public static TerminalColors Detect()
    {
        bool wanted = !Console.IsOutputRedirected && string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NO_COLOR"));
        return wanted && Environment.GetEnvironmentVariable("COLORTERM") is "truecolor" or "24bit"
            ? TerminalColors.TrueColor : TerminalColors.None;
    }

    /// <summary>The original and one panel a pruning layer, side by side; those that do not fit go below.</summary>
    /// <param name="grid">Patches a side.</param>
    /// <param name="stages">For each pruning layer the tokens left: prefix tokens, then patches row by row.</param>
    /// <param name="width">Columns that no line passes; at least 4.</param>
    /// <param name="prefixTokens">Tokens in front of the patches: 1 for a class token, 2 with a distillation token.</param>
    /// <exception cref="ArgumentException">A token number that is not in the grid.</exception>
    public static IReadOnlyList<string> Render(Image image, int grid, IReadOnlyList<IReadOnlyList<int>> stages, int width,
        TerminalColors colors, int prefixTokens = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 4);
        ArgumentNullException.ThrowIfNull(image);
        var masks = new List<PatchMask?> { null };
        foreach (var kept in stages) masks.Add(new PatchMask(kept, grid, prefixTokens));

        int perRow = PanelsPerRow(masks.Count, grid, width);
        int columns = PanelColumns(grid, (width - Gap * (perRow - 1)) / perRow);
        // A character is twice as high as wide; a picture more than twice as high as wide would roll out of sight.
        int lines = Math.Clamp((int)Math.Round((double)columns * image.Height / image.Width / 2), 1, columns);
        var small = Resampler.Resize(ImageOps.ToRgb(image), columns, 2 * lines);

        var text = new List<string>();
        for (int first = 0; first < masks.Count; first += perRow)
        {
            if (first > 0) text.Add("");
            for (int line = 0; line < lines; line++)
            {
                var builder = new StringBuilder();
                for (int p = first; p < Math.Min(first + perRow, masks.Count); p++)
                {
                    if (p > first) builder.Append(' ', Gap);
                    AppendLine(builder, small, masks[p], line, colors);
                }
                text.Add(builder.ToString());
            }
        }
        return text;
    }

    /// <summary>As many panels as keep at least one character a patch.</summary>
    private static int PanelsPerRow(int panels, int grid, int width) =>
        Math.Clamp((width + Gap) / (Math.Min(grid, width) + Gap), 1, panels);

    /// <summary>A whole number of characters a patch where there is room, so that patches look alike.</summary>
    private static int PanelColumns(int grid, int room)
    {
        int columns = Math.Min(room, Math.Max(LargestPanel, grid));
        return columns < grid ? columns : columns / grid * grid;
    }

    private static void AppendLine(StringBuilder builder, Image small, PatchMask? mask, int line, TerminalColors colors)
    {
        for (int x = 0; x < small.Width; x++)
        {
            bool upper = IsKept(mask, small, x, 2 * line), lower = IsKept(mask, small, x, 2 * line + 1);
            if (colors == TerminalColors.TrueColor) AppendBlock(builder, small, x, 2 * line, upper, lower);
            else builder.Append(upper || lower ? Shade(small, x, 2 * line, upper, lower) : Dropped);
        }
        if (colors == TerminalColors.TrueColor) builder.Append("\e[0m");
    }

    private static bool IsKept(PatchMask? mask, Image small, int x, int y) => mask == null
        || mask[PatchMask.PatchOf(y, mask.Grid, small.Height), PatchMask.PatchOf(x, mask.Grid, small.Width)];

    private static void AppendBlock(StringBuilder builder, Image small, int x, int y, bool upper, bool lower)
    {
        builder.Append(lower && upper ? Color(48, small, x, y + 1) : "\e[49m");
        if (!upper && !lower) builder.Append(DimDot);
        else builder.Append(Color(38, small, x, upper ? y : y + 1)).Append(upper ? '▀' : '▄');
    }

    private static string Color(int layer, Image small, int x, int y)
    {
        var p = small.Pixels.AsSpan((y * small.Width + x) * 3, 3);
        return string.Create(CultureInfo.InvariantCulture, $"\e[{layer};2;{p[0]};{p[1]};{p[2]}m");
    }

    private static char Shade(Image small, int x, int y, bool upper, bool lower)
    {
        double light = upper && lower ? (Luma(small, x, y) + Luma(small, x, y + 1)) / 2 : Luma(small, x, upper ? y : y + 1);
        return Shades[Math.Min((int)(light / 256 * Shades.Length), Shades.Length - 1)];
    }

    /// <summary>ITU-R BT.601 luma.</summary>
    private static double Luma(Image small, int x, int y)
    {
        var p = small.Pixels.AsSpan((y * small.Width + x) * 3, 3);
        return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
    }
}
