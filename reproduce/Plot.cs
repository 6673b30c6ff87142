using System.Globalization;
using System.Text;
using Espalier.Formats;

namespace Espalier.Reproduce;

/// <summary>Points and lines over two axes, as a picture in SVG.</summary>
/// <param name="xName">What stands under the axis.</param>
/// <param name="xFrom">Where it begins.</param>
/// <param name="xTo">Where it ends.</param>
internal sealed class Plot(string xName, double xFrom, double xTo, string yName, double yFrom, double yTo)
{
    private const double Width = 620, Height = 400, Left = 58, Right = 150, Top = 16, Bottom = 46;
    private const int Ticks = 5;

    private static readonly string[] Dashes = ["", "8 3", "2 3", "8 3 2 3", "12 3", "1 2"];

    private readonly StringBuilder marks = new();
    private int names, lines;

    /// <summary>A colour for each of several things that are told apart.</summary>
    public static string Color(int i, int of) => string.Create(CultureInfo.InvariantCulture, $"hsl({360.0 * i / of:0} 70% 40%)");

    public void Point(double x, double y, string color, string label) => marks.Append(CultureInfo.InvariantCulture,
        $"<circle cx=\"{X(x):0.#}\" cy=\"{Y(y):0.#}\" r=\"4\" fill=\"{color}\"><title>{label}: {x:#,0.##}, {y:0.##}</title></circle>\n")
        .Append(CultureInfo.InvariantCulture, $"<text x=\"{X(x) + 6:0.#}\" y=\"{Y(y) + 4:0.#}\" fill=\"{color}\">")
        .Append(label).Append("</text>\n");

    /// <summary>A line and what it is of; lines are told apart by their dashes, too.</summary>
    public void Line(IReadOnlyList<(double X, double Y)> points, string color, string name)
    {
        string look = $"fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\" stroke-dasharray=\"{Dashes[lines++ % Dashes.Length]}\"";
        double y = Top + 8 + 18 * names;
        marks.Append($"<polyline {look} points=\"")
            .AppendJoin(' ', points.Select(p => FormattableString.Invariant($"{X(p.X):0.#},{Y(p.Y):0.#}"))).Append("\"/>\n");
        foreach ((double px, double py) in points)
            marks.Append(CultureInfo.InvariantCulture, $"<circle cx=\"{X(px):0.#}\" cy=\"{Y(py):0.#}\" r=\"2.5\" fill=\"{color}\">")
                .Append(CultureInfo.InvariantCulture, $"<title>{name}: {px:0.##}, {py:0.##}</title></circle>\n");
        marks.Append(CultureInfo.InvariantCulture, $"<path {look} d=\"M{Width - Right + 10} {y}h26\"/>\n");
        Legend(color, name, left: 32);
    }

    /// <summary>What a colour stands for, beside the picture.</summary>
    public void Legend(string color, string name, double left = 0) => marks.Append(CultureInfo.InvariantCulture,
        $"<text x=\"{Width - Right + 10 + left}\" y=\"{Top + 12 + 18 * names++}\" fill=\"{color}\">{name}</text>\n");

    public override string ToString()
    {
        var svg = new StringBuilder();
        svg.Append(CultureInfo.InvariantCulture, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Width} {Height}\" ")
            .Append("font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n");
        for (int i = 0; i <= Ticks; i++)
        {
            double x = xFrom + (xTo - xFrom) * i / Ticks, y = yFrom + (yTo - yFrom) * i / Ticks;
            svg.Append(CultureInfo.InvariantCulture, $"<path d=\"M{X(x):0.#} {Top}V{Height - Bottom}M{Left} {Y(y):0.#}")
                .Append(CultureInfo.InvariantCulture, $"H{Width - Right}\" stroke=\"#ddd\"/>\n<text x=\"{X(x):0.#}\" ")
                .Append(CultureInfo.InvariantCulture, $"y=\"{Height - Bottom + 16}\" text-anchor=\"middle\">{x:#,0.##}</text>\n")
                .Append(CultureInfo.InvariantCulture, $"<text x=\"{Left - 6}\" y=\"{Y(y) + 4:0.#}\" ")
                .Append(CultureInfo.InvariantCulture, $"text-anchor=\"end\">{y:0.##}</text>\n");
        }
        svg.Append(CultureInfo.InvariantCulture, $"<text x=\"{(Left + Width - Right) / 2}\" y=\"{Height - 10}\" ")
            .Append(CultureInfo.InvariantCulture, $"text-anchor=\"middle\">{xName}</text>\n<text transform=\"translate(14 ")
            .Append(CultureInfo.InvariantCulture, $"{(Top + Height - Bottom) / 2}) rotate(-90)\" ")
            .Append(CultureInfo.InvariantCulture, $"text-anchor=\"middle\">{yName}</text>\n");
        return svg.Append(marks).Append("</svg>\n").ToString();
    }

    /// <summary>Writes the picture into the folder "images" beside a page.</summary>
    public void Save(string page, string name)
    {
        string path = PathOf(page, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        AtomicFile.WriteText(path, ToString());
    }

    /// <summary>Where the picture of a page lies.</summary>
    public static string PathOf(string page, string name) =>
        Path.Combine(Path.GetDirectoryName(Path.GetFullPath(page))!, "images", name);

    private double X(double x) => Left + (x - xFrom) / (xTo - xFrom) * (Width - Left - Right);

    private double Y(double y) => Height - Bottom - (y - yFrom) / (yTo - yFrom) * (Height - Top - Bottom);
}
