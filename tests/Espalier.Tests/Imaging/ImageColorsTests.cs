using Espalier.Imaging;

namespace Espalier.Tests.Imaging;

/// <summary>Changes of colours and shape against PIL's, byte for byte.</summary>
public sealed class ImageColorsTests
{
    private static readonly Dictionary<string, Action<Image, Image>> Changes = new()
    {
        ["auto-contrast"] = ImageColors.AutoContrast,
        ["equalize"] = ImageColors.Equalize,
        ["invert"] = ImageColors.Invert,
        ["posterize"] = (x, y) => ImageColors.Posterize(x, y, 3),
        ["solarize"] = (x, y) => ImageColors.Solarize(x, y, 100),
        ["add"] = (x, y) => ImageColors.AddBelowMiddle(x, y, 99),
        ["brightness-up"] = (x, y) => ImageColors.Brightness(x, y, 1.7f),
        ["brightness-down"] = (x, y) => ImageColors.Brightness(x, y, 0.35f),
        ["contrast-up"] = (x, y) => ImageColors.Contrast(x, y, 1.9f),
        ["contrast-down"] = (x, y) => ImageColors.Contrast(x, y, 0.19f),
        ["color-up"] = (x, y) => ImageColors.Saturation(x, y, 1.81f),
        ["color-down"] = (x, y) => ImageColors.Saturation(x, y, 0.25f),
        ["sharpness-up"] = (x, y) => ImageColors.Sharpness(x, y, 1.6f),
        ["sharpness-down"] = (x, y) => ImageColors.Sharpness(x, y, 0.1f),
        ["rotate"] = (x, y) => AffineMap.Rotation(27.3, x.Width, x.Height).Apply(x, y, 128),
        ["rotate-back"] = (x, y) => AffineMap.Rotation(-11, x.Width, x.Height).Apply(x, y, 128),
        ["shear-x"] = (x, y) => AffineMap.ShearX(0.27).Apply(x, y, 128),
        ["shear-y"] = (x, y) => AffineMap.ShearY(-0.2).Apply(x, y, 128),
        ["shift"] = (x, y) => AffineMap.Shift(7.4, -3.25).Apply(x, y, 128),
        ["gray-equalize"] = ImageColors.Equalize,
        ["gray-contrast"] = (x, y) => ImageColors.Contrast(x, y, 1.5f),
        ["gray-sharpness"] = (x, y) => ImageColors.Sharpness(x, y, 0.4f),
        ["gray-rotate"] = (x, y) => AffineMap.Rotation(33, x.Width, x.Height).Apply(x, y, 128),
    };

    public static TheoryData<string> Names => [.. Changes.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void Bytes_are_PILs(string name)
    {
        Image source = Golden.Read(name.StartsWith("gray-", StringComparison.Ordinal) ? "adjust-gray-in" : "adjust-in");
        var target = new Image(source.Width, source.Height, source.Channels);
        byte[] before = [.. source.Pixels];
        Changes[name](source, target);
        Golden.AssertSame(Golden.Read("adjust-" + name), target);
        Assert.Equal(before, source.Pixels);
    }

    [Fact]
    public void A_picture_of_one_colour_stays_as_it_is()
    {
        var source = new Image(3, 2, 1, [7, 7, 7, 7, 7, 7]);
        var target = new Image(3, 2, 1);
        ImageColors.AutoContrast(source, target);
        Assert.Equal(source.Pixels, target.Pixels);
        ImageColors.Equalize(source, target);
        Assert.Equal(source.Pixels, target.Pixels);
    }
}
