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

    private readonly StringBuilder marks = new();
    private int names;

    /// <summary>A colour for each of several things that are told apart.</summary>
    public static string Color(int i, int of) => string.Create(CultureInfo.InvariantCulture, $"hsl({360.0 * i / of:0} 70% 40%)");

    public void Point(double x, double y, string color, string label) => marks.Append(CultureInfo.InvariantCulture,
        $"<circle cx=\"{X(x):0.#}\" cy=\"{Y(y):0.#}\" r=\"4\" fill=\"{color}\"/>\n")
        .Append(CultureInfo.InvariantCulture, $"<text x=\"{X(x) + 6:0.#}\" y=\"{Y(y) + 4:0.#}\" fill=\"{color}\">")
        .Append(label).Append("</text>\n");

    public void Line(IEnumerable<(double X, double Y)> points, string color) => marks.Append(CultureInfo.InvariantCulture,
        $"<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\" points=\"")
        .AppendJoin(' ', points.Select(p => FormattableString.Invariant($"{X(p.X):0.#},{Y(p.Y):0.#}"))).Append("\"/>\n");

    /// <summary>What a colour stands for, beside the picture.</summary>
    public void Legend(string color, string name) => marks.Append(CultureInfo.InvariantCulture,
        $"<text x=\"{Width - Right + 10}\" y=\"{Top + 12 + 18 * names++}\" fill=\"{color}\">{name}</text>\n");

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
        string images = Path.Combine(Path.GetDirectoryName(Path.GetFullPath(page))!, "images");
        Directory.CreateDirectory(images);
        AtomicFile.Write(Path.Combine(images, name), stream => stream.Write(Encoding.UTF8.GetBytes(ToString())));
    }

    private double X(double x) => Left + (x - xFrom) / (xTo - xFrom) * (Width - Left - Right);

    private double Y(double y) => Height - Bottom - (y - yFrom) / (yTo - yFrom) * (Height - Top - Bottom);
}
