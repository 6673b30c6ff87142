namespace Espalier.Imaging;

/// <summary>Where a picture's point (x, y) is taken from: (XX x + XY y + X, YX x + YY y + Y). Points count from the picture's upper
/// left corner; a pixel's centre is half a pixel inside.</summary>
public readonly record struct AffineMap(double XX, double XY, double X, double YX, double YY, double Y)
{
    /// <summary>Rows shifted by a share of their height above the lower edge.</summary>
    public static AffineMap ShearX(double factor) => new(1, factor, 0, 0, 1, 0);

    /// <summary>Columns shifted by a share of their distance from the left edge.</summary>
    public static AffineMap ShearY(double factor) => new(1, 0, 0, factor, 1, 0);

    /// <summary>Everything shifted to the left and up.</summary>
    public static AffineMap Shift(double x, double y) => new(1, 0, x, 0, 1, y);

    /// <summary>Turned about a picture's centre, anticlockwise.</summary>
    public static AffineMap Rotation(double degrees, int width, int height)
    {
        double angle = -degrees * Math.PI / 180, cos = Math.Cos(angle), sin = Math.Sin(angle), x = width / 2.0, y = height / 2.0;
        return new(cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y);
    }

    /// <summary>The picture through the map, between pixels linearly, byte for byte as PIL does it.</summary>
    /// <param name="target">Of the source's channels.</param>
    /// <param name="fill">The samples of what lies outside.</param>
    public void Apply(Image source, Image target, byte fill)
    {
        if (source.Channels != target.Channels)
            throw new ArgumentException($"the target has {target.Channels} channels, not {source.Channels}");
        int channels = source.Channels, width = source.Width, height = source.Height;
        byte[] from = source.Pixels;
        for (int row = 0, at = 0; row < target.Height; row++)
        {
            for (int column = 0; column < target.Width; column++, at += channels)
            {
                double x = XX * (column + 0.5) + XY * (row + 0.5) + X, y = YX * (column + 0.5) + YY * (row + 0.5) + Y;
                Span<byte> to = target.Pixels.AsSpan(at, channels);
                if (!(x >= 0 && x < width && y >= 0 && y < height))
                {
                    to.Fill(fill);
                    continue;
                }
                int left = (int)Math.Floor(x - 0.5), top = (int)Math.Floor(y - 0.5);
                double dx = x - 0.5 - left, dy = y - 0.5 - top;
                int x0 = Math.Clamp(left, 0, width - 1) * channels, x1 = Math.Clamp(left + 1, 0, width - 1) * channels;
                int y0 = Math.Clamp(top, 0, height - 1) * width * channels, y1 = Math.Clamp(top + 1, 0, height - 1) * width * channels;
                for (int c = 0; c < channels; c++)
                {
                    double above = Between(from[y0 + x0 + c], from[y0 + x1 + c], dx);
                    double below = Between(from[y1 + x0 + c], from[y1 + x1 + c], dx);
                    to[c] = (byte)Between(above, below, dy);
                }
            }
        }

        static double Between(double a, double b, double share) => a + (b - a) * share;
    }
}
