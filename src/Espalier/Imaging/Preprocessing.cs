using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Espalier.Formats;

namespace Espalier.Imaging;

/// <summary>The channels that a network sees, in their order.</summary>
public enum ColorOrder
{
    Rgb,

    /// <summary>As OpenCV reads pictures.</summary>
    Bgr,

    Grey,
}

/// <summary>What a picture is scaled to.</summary>
public enum ResizeFit
{
    /// <summary>The shorter side gets the wanted length and the shape stays.</summary>
    ShorterSide,

    /// <summary>Both sides get it, whatever the shape was.</summary>
    Square,
}

/// <summary>
/// How a stored picture becomes a network's input, without chance: it is scaled, the centre is cut out, and each sample becomes
/// (sample / divisor - mean) / deviation. It belongs to the weights: with another one than in training they answer wrongly.
/// In a file: <c>{"resize":256,"fit":"shorterSide","filter":"bilinear","crop":224,"colors":"rgb","divisor":255,
/// "mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225]}</c>, all of it but <c>crop</c>, which may be left out.
/// </summary>
[JsonConverter(typeof(PreprocessingConverter))]
public sealed record Preprocessing
{
    /// <summary>The largest side of a network's input in pixels.</summary>
    public const int LargestSize = 16384;

    private const float LargestMean = 1e6f, SmallestScale = 1e-3f, LargestScale = 1e6f;

    private static readonly float[] ImageNetMean = [0.485f, 0.456f, 0.406f], ImageNetStd = [0.229f, 0.224f, 0.225f],
        ClipMean = [0.48145466f, 0.4578275f, 0.40821073f], ClipStd = [0.26862954f, 0.26130258f, 0.27577711f], Half05 = [0.5f];

    /// <summary>Pixels that the picture is scaled to, see <see cref="Fit"/>.</summary>
    public required int Resize { get; init; }

    public required ResizeFit Fit { get; init; }

    public required Interpolation Filter { get; init; }

    /// <summary>Side of the square that is cut out of the middle, a black border around smaller ones; null for none.</summary>
    public int? Crop { get; init; }

    public required ColorOrder Colors { get; init; }

    /// <summary>What a sample of 0 to 255 is divided by: 255 gives 0 to 1, 1 leaves it as it is.</summary>
    public required float Divisor { get; init; }

    /// <summary>What is subtracted after that: a number a channel in the network's order, or one for all.</summary>
    public required IReadOnlyList<float> Mean { get; init; }

    /// <summary>What is divided by in the end: a number a channel, or one for all.</summary>
    public required IReadOnlyList<float> Std { get; init; }

    internal float MeanOf(int channel) => Mean[Mean.Count == 1 ? 0 : channel];

    internal float StdOf(int channel) => Std[Std.Count == 1 ? 0 : channel];

    /// <summary>Who said so, for people; not a part of what it does.</summary>
    public string? Origin { get; init; }

    /// <summary>Side of the network's input in pixels.</summary>
    public int Size => Crop ?? Resize;

    /// <summary>1 or 3.</summary>
    public int Channels => Colors == ColorOrder.Grey ? 1 : 3;

    /// <summary>The names that <see cref="Preset"/> knows.</summary>
    public static IReadOnlyList<string> Names { get; } = ["imagenet", "deit", "half", "clip"];

    /// <summary>
    /// A published way for inputs of <paramref name="size"/> pixels a side. A network of one channel gets the mean over the three
    /// of means and deviations.
    /// <list type="bullet">
    /// <item><c>imagenet</c>, torchvision's: shorter side to 256 for 224 pixels, bilinear, centre, ImageNet's numbers;</item>
    /// <item><c>deit</c>: the same, bicubic;</item>
    /// <item><c>half</c>: straight to a square, bilinear, mean and deviation 0.5, as Google's and APT's authors do it;</item>
    /// <item><c>clip</c>: shorter side to the input's, bicubic, centre, CLIP's numbers.</item>
    /// </list>
    /// For other inputs than 224 the ratio of 256 to 224 stays, rounded down, as timm (crop_pct 0.875) and DeiT's code have it.
    /// </summary>
    /// <exception cref="EspalierException">There is no such name.</exception>
    public static Preprocessing Preset(string name, int size, int channels = 3) => name switch
    {
        "imagenet" => Cropped((int)(size * 8L / 7), size, channels, Interpolation.Bilinear, ImageNetMean, ImageNetStd),
        "deit" => Cropped((int)(size * 8L / 7), size, channels, Interpolation.Bicubic, ImageNetMean, ImageNetStd),
        "half" => Half(size, channels),
        "clip" => Cropped(size, size, channels, Interpolation.Bicubic, ClipMean, ClipStd),
        _ => throw new EspalierException($"there is no preprocessing '{name}'; choose one of {string.Join(", ", Names)}"),
    };

    /// <summary>The preset <c>half</c>.</summary>
    public static Preprocessing Half(int size, int channels) => new()
    {
        Resize = size, Fit = ResizeFit.Square, Filter = Interpolation.Bilinear, Colors = ColorsOf(channels), Divisor = 255,
        Mean = Half05, Std = Half05,
    };

    /// <summary>Xception's of the published weights, as timm runs them: 333 pixels for an input of 299, mean and deviation 0.5.
    /// </summary>
    internal static Preprocessing Xception(int size, int channels) =>
        Cropped((int)(size / 0.8975), size, channels, Interpolation.Bicubic, Half05, Half05);

    /// <summary>The same for another size of the input: as much of the picture is cut off.</summary>
    public Preprocessing ForSize(int size) => size == Size ? this : this with
    {
        Resize = (int)Math.Clamp((long)Resize * size / Size, 1, LargestSize), Crop = Crop is null ? null : size,
    };

    /// <summary>Throws where a number is out of its range.</summary>
    /// <param name="source">The file, for the message.</param>
    /// <exception cref="EspalierException">One line that names the number.</exception>
    public Preprocessing Checked(string source)
    {
        Require(Resize is >= 1 and <= LargestSize, $"resize is {Resize}; it is 1 to {LargestSize} pixels");
        Require(Crop is null or (>= 1 and <= LargestSize), $"crop is {Crop}; it is 1 to {LargestSize} pixels");
        Require(Enum.IsDefined(Fit) && Enum.IsDefined(Filter) && Enum.IsDefined(Colors), "no such fit, filter or colors");
        Require(Fit == ResizeFit.Square || Crop is not null, "with fit shorterSide the input is no square; add crop");
        Require(Divisor is >= SmallestScale and <= LargestScale, Text($"divisor is {Divisor}; it is 0.001 to 1000000"));
        Require(Mean is not null && Std is not null, "mean and std are lists of numbers");
        Require(Mean!.Count == 1 || Mean.Count == Channels, $"mean has {Mean.Count} numbers; it has {Numbers}");
        Require(Std!.Count == 1 || Std.Count == Channels, $"std has {Std.Count} numbers; it has {Numbers}");
        foreach (float m in Mean) Require(Math.Abs(m) <= LargestMean, Text($"mean has {m}; it is -1000000 to 1000000"));
        foreach (float s in Std) Require(s is >= SmallestScale and <= LargestScale, Text($"std has {s}; it is 0.001 to 1000000"));
        return this;

        void Require(bool condition, string message)
        {
            if (!condition) throw new EspalierException($"{source}: preprocessing: {message}");
        }
    }

    /// <summary>Throws where it does not make a network's input.</summary>
    /// <inheritdoc cref="Checked" path="/param"/>
    /// <exception cref="EspalierException">One line that says what differs.</exception>
    public Preprocessing RequireFor(int size, int channels, string source) => (Size, Channels) == (size, channels) ? this
        : throw new EspalierException($"{source}: preprocessing: gives {Channels} x {Size} x {Size}, but the network takes "
            + $"{channels} x {size} x {size}; make them agree");

    /// <summary>Reads a file; see the class for its form.</summary>
    /// <exception cref="EspalierException">It is missing, or not of that form.</exception>
    public static Preprocessing Read(string path)
    {
        return Parse(SmallFile.ReadText(path, 1 << 20, "a file of preprocessing"), path);
    }

    /// <inheritdoc cref="Read"/>
    public static Preprocessing Parse(string json, string source)
    {
        try
        {
            using JsonDocument given = JsonDocument.Parse(json, new JsonDocumentOptions { AllowDuplicateProperties = false });
            return PreprocessingConverter.Read(given.RootElement).Checked(source);
        }
        catch (Exception e) when (e is InvalidDataException || SmallFile.IsWrongJson(e))
        {
            throw new EspalierException($"{source}: not a preprocessing: {e.Message.ReplaceLineEndings(" ")}", e);
        }
    }

    public string ToJson()
    {
        using var bytes = new MemoryStream();
        using (var json = new Utf8JsonWriter(bytes)) PreprocessingConverter.Write(json, this);
        return Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length);
    }

    /// <summary>Whether they do the same.</summary>
    public bool Equals(Preprocessing? other) => other is not null && ToJson() == other.ToJson();

    public override int GetHashCode() => ToJson().GetHashCode(StringComparison.Ordinal);

    /// <summary>In a line, for people.</summary>
    public override string ToString()
    {
        string size = Fit == ResizeFit.Square ? $"{Resize} x {Resize}" : $"shorter side {Resize}";
        string crop = Crop is { } c ? $", centre {c} x {c}" : "";
        string more = (Divisor == 255 ? "" : Text($", samples / {Divisor}")) + (Colors == ColorOrder.Bgr ? ", BGR" : "");
        return $"{size}, {Filter.ToString().ToLowerInvariant()}{crop}{more}, mean {List(Mean)}, deviation {List(Std)}";
    }

    private string Numbers => Channels == 1 ? "1" : $"{Channels}, or 1 for all";

    private static ColorOrder ColorsOf(int channels) => channels switch
    {
        1 => ColorOrder.Grey,
        3 => ColorOrder.Rgb,
        _ => throw new ArgumentException($"a model sees 1 or 3 channels, not {channels}", nameof(channels)),
    };

    private static Preprocessing Cropped(
        int resize, int crop, int channels, Interpolation filter, float[] mean, float[] std) => new()
        {
            Resize = Math.Min(resize, LargestSize), Fit = ResizeFit.ShorterSide, Filter = filter, Crop = crop,
            Colors = ColorsOf(channels), Divisor = 255,
            Mean = channels == 1 ? [(float)mean.Average(m => (double)m)] : mean,
            Std = channels == 1 ? [(float)std.Average(s => (double)s)] : std,
        };

    private static string List(IEnumerable<float> numbers) => string.Join(' ', numbers.Select(n => Text($"{n}")));

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

/// <summary>By hand: what is made for a record's properties takes a tenth of the time in which a model opens.</summary>
internal sealed class PreprocessingConverter : JsonConverter<Preprocessing>
{
    public override Preprocessing Read(ref Utf8JsonReader reader, Type type, JsonSerializerOptions options)
    {
        try
        {
            using JsonDocument document = JsonDocument.ParseValue(ref reader);
            return Read(document.RootElement);
        }
        catch (InvalidDataException e)
        {
            throw new JsonException(e.Message, e);
        }
    }

    /// <exception cref="InvalidDataException">A part is missing, unknown or of another kind.</exception>
    public static Preprocessing Read(JsonElement json)
    {
        StrictJson.Members members = new(json, "preprocessing", "resize", "fit", "filter", "crop?", "colors", "divisor", "mean", "std");
        return new Preprocessing
        {
            Resize = StrictJson.Int(members["resize"], "resize"), Fit = StrictJson.Word<ResizeFit>(members["fit"], "fit"),
            Filter = StrictJson.Word<Interpolation>(members["filter"], "filter"),
            Crop = members.Given("crop") is { } crop ? StrictJson.Int(crop, "crop") : null,
            Colors = StrictJson.Word<ColorOrder>(members["colors"], "colors"), Divisor = StrictJson.Float(members["divisor"], "divisor"),
            Mean = Numbers("mean"), Std = Numbers("std"),
        };

        float[] Numbers(string name)
        {
            if (members.Given(name) is null) throw new InvalidDataException("mean and std are lists of numbers");
            return [.. members.List(name, 16).Select(n => StrictJson.Float(n, name))];
        }
    }

    public override void Write(Utf8JsonWriter writer, Preprocessing value, JsonSerializerOptions options) => Write(writer, value);

    public static void Write(Utf8JsonWriter writer, Preprocessing value)
    {
        writer.WriteStartObject();
        writer.WriteNumber("resize", value.Resize);
        writer.WriteString("fit", StrictJson.Word(value.Fit));
        writer.WriteString("filter", StrictJson.Word(value.Filter));
        if (value.Crop is { } crop) writer.WriteNumber("crop", crop);
        writer.WriteString("colors", StrictJson.Word(value.Colors));
        writer.WriteNumber("divisor", value.Divisor);
        Numbers("mean", value.Mean);
        Numbers("std", value.Std);
        writer.WriteEndObject();

        void Numbers(string name, IReadOnlyList<float> numbers)
        {
            writer.WriteStartArray(name);
            foreach (float number in numbers) writer.WriteNumberValue(number);
            writer.WriteEndArray();
        }
    }
}
