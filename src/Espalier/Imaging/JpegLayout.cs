using System.Buffers.Binary;

namespace Espalier.Imaging;

/// <summary>
/// What a JPEG file's markers say (ITU-T T.81, annex B). Decoders make up what a cut file lacks, and a small file can ask
/// for much memory and time; both are seen here before one is started.
/// </summary>
/// <param name="IsWhole">The first picture's end mark is there. What follows it (a video, a preview) is not looked at.</param>
/// <param name="Components">1 grey, 3 colour, 4 CMYK; 0 where the data ends before the frame's header.</param>
/// <param name="Blocks">Of 8 x 8 coefficients, in all components.</param>
/// <param name="Scans">Parts that each go over the picture, one in most baseline files, some ten in progressive ones.</param>
/// <param name="KeepsCoefficients">A decoder must hold all coefficients (16 bits each) until the last scan.</param>
/// <param name="IsArithmetic">Coded without Huffman's codes, as few files are.</param>
internal readonly record struct JpegLayout(bool IsWhole, int Components, long Blocks, int Scans, bool KeepsCoefficients,
    bool IsArithmetic)
{
    // 64 megapixels with colour at half resolution: a progressive photo of any phone is below.
    private const long MaxCoefficientBytes = 200L << 20;

    // Encoders write some ten; a file of a few kilobytes could ask for thousands of passes over the picture.
    private const int MaxScans = 100;

    private const int StartOfImage = 0xD8, EndOfImage = 0xD9, StartOfScan = 0xDA, Temporary = 0x01;

    /// <summary>Reads the markers up to the first picture's end, or up to the end of the data.</summary>
    public static JpegLayout Read(ReadOnlySpan<byte> data)
    {
        var layout = default(JpegLayout);
        for (int at = 2; NextMarker(data, ref at) is var marker && marker != 0;)
        {
            if (marker == EndOfImage) return layout with { IsWhole = true };
            if (marker is StartOfImage or Temporary or (>= 0xD0 and <= 0xD7)) continue;     // marks without a segment
            if (data.Length - at < 2) break;
            int length = BinaryPrimitives.ReadUInt16BigEndian(data[at..]);
            if (length < 2 || length > data.Length - at) break;
            var segment = data.Slice(at + 2, length - 2);
            at += length;
            if (marker is >= 0xC0 and <= 0xCF and not (0xC4 or 0xC8 or 0xCC)) layout = layout.WithFrame(marker, segment);
            if (marker != StartOfScan) continue;
            bool partial = segment.Length > 0 && segment[0] < layout.Components;
            layout = layout with { Scans = layout.Scans + 1, KeepsCoefficients = layout.KeepsCoefficients || partial };
        }
        return layout;
    }

    /// <summary>Refuses a cut file, and one that would take far more memory or time than a photo of its size.</summary>
    /// <param name="length">Of the file in bytes.</param>
    public void Check(long length, string name)
    {
        // With Huffman's codes a block has at least a bit for its first coefficient, and another in a file of one scan.
        long bits = IsArithmetic ? 0 : KeepsCoefficients ? Blocks : 2 * Blocks;
        if (!IsWhole || length < bits / 8) throw new EspalierException($"{name}: the JPEG file is truncated; get a whole copy.");
        if (KeepsCoefficients && Blocks > MaxCoefficientBytes / 128)
            throw new EspalierException($"{name}: a progressive JPEG of this size takes {Blocks * 128 >> 20} MB to read "
                + $"(limit {MaxCoefficientBytes >> 20} MB); save it as a baseline JPEG or scale it down.");
        if (Scans > MaxScans)
            throw new EspalierException($"{name}: a JPEG of {Scans} scans is not read (limit {MaxScans}); save it again.");
    }

    private JpegLayout WithFrame(int marker, ReadOnlySpan<byte> segment)
    {
        // Precision, height, width, number of components; three bytes for each: name, sampling factors, table.
        if (segment.Length < 6 || segment.Length < 6 + 3 * segment[5]) return this;
        int height = BinaryPrimitives.ReadUInt16BigEndian(segment[1..]);
        int width = BinaryPrimitives.ReadUInt16BigEndian(segment[3..]);
        int components = segment[5], mostAcross = 1, mostDown = 1;
        for (int c = 0; c < components; c++)
        {
            mostAcross = Math.Max(mostAcross, segment[7 + 3 * c] >> 4);
            mostDown = Math.Max(mostDown, segment[7 + 3 * c] & 15);
        }
        long blocks = 0, unitsAcross = (width - 1) / (8 * mostAcross) + 1, unitsDown = (height - 1) / (8 * mostDown) + 1;
        for (int c = 0; c < components; c++)
            blocks += unitsAcross * (segment[7 + 3 * c] >> 4) * unitsDown * (segment[7 + 3 * c] & 15);
        return this with
        {
            Components = components, Blocks = blocks, KeepsCoefficients = (marker & 3) == 2, IsArithmetic = marker > 0xC8,
        };
    }

    /// <summary>
    /// The next marker's second byte, with <paramref name="at"/> behind it; 0 at the end of the data. A scan's coded data
    /// is passed on the way: it has no FF that is not followed by 0 or a restart mark.
    /// </summary>
    private static int NextMarker(ReadOnlySpan<byte> data, ref int at)
    {
        while (at < data.Length)
        {
            int found = data[at..].IndexOf((byte)0xFF);
            if (found < 0) break;
            at += found + 1;
            while (at < data.Length && data[at] == 0xFF) at++;
            if (at < data.Length && data[at++] is var marker and not 0) return marker;
        }
        at = data.Length;
        return 0;
    }
}
