using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>
/// How many token rows each image has at a place in the network: as many as <see cref="Most"/>, or, where rows were dropped on
/// the way, fewer, which a run finds out.
/// </summary>
internal sealed class RowAxis(int index, int most, RowAxis? whole = null)
{
    /// <summary>Its number among the network's.</summary>
    public int Index { get; } = index;

    /// <summary>Rows of an image at most.</summary>
    public int Most { get; } = most;

    /// <summary>The rows that these are what is left of; null where every image has <see cref="Most"/>.</summary>
    public RowAxis? Whole { get; } = whole;

    public bool IsUniform => Whole is null;

    /// <summary>Whether row i of one is row i of the other.</summary>
    public bool Fits(RowAxis? other) => other == this || (other is { IsUniform: true } && IsUniform && other.Most == Most);
}

/// <summary>
/// The maps that one layer hands to others: for each image height x width pixels of so many channels, which lie next to one
/// another. A vector is one pixel. Token rows are pixels in one line, of which an image may have fewer than there is room for;
/// those of all images then follow one another without gaps.
/// </summary>
internal sealed class Map(int channels, int height, int width, RowAxis? axis = null)
{
    // Floats of the widest vectors.
    private static readonly int Vector = Hardware.Has512 ? 16 : 8;

    /// <summary>So many channels rounded up to whole vectors: what computing them costs.</summary>
    public static int WholeVectors(int channels) => (channels + Vector - 1) / Vector * Vector;

    /// <summary>Bytes of a pixel of codes: whole vectors of 16, or 4 for a picture's colours.</summary>
    public static int BytesOfCodes(int channels) => channels <= 4 ? 4 : (channels + 15) / 16 * 16;

    public int Channels { get; } = channels;

    public int Height { get; } = height;

    public int Width { get; } = width;

    public int Pixels => Height * Width;

    /// <summary>Of token rows: which there are. Null for maps and vectors, of which every image has all pixels.</summary>
    public RowAxis? Axis { get; } = axis;

    /// <summary>Where pixels are codes of a byte each: what those stand for; null for floats.</summary>
    public CodeStep? Codes { get; set; }

    /// <summary>The layer that computes it; null for the network's input.</summary>
    public Layer? Producer { get; set; }

    /// <summary>The layers that read it, each once for every time that it does.</summary>
    public List<Layer> Readers { get; } = [];

    /// <summary>The maps whose memory these are a part of; null where they have memory of their own.</summary>
    public Map? Home { get; set; }

    /// <summary>The first of these channels among those of <see cref="Home"/>.</summary>
    public int FirstChannel { get; set; }

    /// <summary>The maps that own the memory.</summary>
    public Map Root => Home is null ? this : Home.Root;

    /// <summary>The first of these channels among those of <see cref="Root"/>.</summary>
    public int FirstOfRoot => Home is null ? 0 : FirstChannel + Home.FirstOfRoot;

    /// <summary>Floats of a pixel where the maps have memory of their own: the channels, or whole vectors of them. Those that are
    /// none hold whatever steps leave there; nobody looks at them.</summary>
    public int Room { get; set; } = channels;

    /// <summary>Channels that a step may compute without touching those of other maps: all of <see cref="Room"/> where these
    /// maps have the memory to themselves.</summary>
    public int Writable => Root is { } root && root.SameShape(this) && FirstOfRoot == 0 ? root.Room : Channels;

    /// <summary>Floats, or bytes of codes, from one pixel to the next. Flattened maps lie in others, but their one pixel is all of those.</summary>
    public int Stride => Home is null ? Room : Home.Pixels != Pixels ? Channels : Home.Stride;

    public bool SameShape(Map other) => (Channels, Height, Width) == (other.Channels, other.Height, other.Width)
        && Codes is null == other.Codes is null;

    /// <summary>Whether pixel i of one is pixel i of the other.</summary>
    public bool SamePixels(Map other) =>
        (Height, Width) == (other.Height, other.Width) && (Axis is null ? other.Axis is null or { IsUniform: true }
            : Axis.Fits(other.Axis) || (other.Axis is null && Axis.IsUniform));

    /// <summary>Others of the same pixels.</summary>
    public Map Like(int channels) => new(channels, Height, Width, Axis);

    /// <summary>Token rows of so many channels.</summary>
    public static Map OfRows(RowAxis axis, int channels) => new(channels, 1, axis.Most, axis);
}
