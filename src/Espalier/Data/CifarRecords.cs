using Espalier.Formats;

namespace Espalier.Data;

/// <summary>What is in CIFAR's files: labels, and 3072 bytes a picture, the red plane first.</summary>
internal static class CifarRecords
{
    private const int Size = 32, PixelBytes = 3 * Size * Size;

    /// <summary>Labels [N] and pixels [N, 3, 32, 32] of one file.</summary>
    private sealed record Part(byte[] Labels, byte[] Pixels);

    /// <param name="source">Folder or archive, for errors.</param>
    /// <param name="names">One for each of <paramref name="files"/>.</param>
    /// <exception cref="EspalierException">A file of another form, or a label out of range.</exception>
    public static MemoryDataset Read(DatasetInfo info, string source, string[] names, byte[][] files)
    {
        var parts = new Part[files.Length];
        for (int i = 0; i < files.Length; i++)
        {
            string name = $"{source}, {names[i]}";
            bool binary = names[i].EndsWith(".bin", StringComparison.Ordinal);
            parts[i] = binary ? ReadBinary(info, name, files[i]) : ReadPickle(info, name, files[i]);
        }
        bool single = parts.Length == 1;
        byte[] labels = single ? parts[0].Labels : [.. parts.SelectMany(p => p.Labels)];
        byte[] pixels = single ? parts[0].Pixels : Concatenate(parts);
        return new MemoryDataset(info.Name, info.Classes == 10 ? CifarClasses.Ten : CifarClasses.Hundred, Size, Size, 3, pixels,
            labels, planar: true);
    }

    /// <summary>Records of 3073 bytes (label, pixels), or 3074 for CIFAR-100 (coarse label, fine label, pixels).</summary>
    private static Part ReadBinary(DatasetInfo info, string name, byte[] file)
    {
        int labelBytes = info.Classes == 10 ? 1 : 2, record = labelBytes + PixelBytes;
        if (file.Length == 0 || file.Length % record != 0)
            throw new EspalierException($"{name}: {file.Length} bytes is no whole number of records of {record}; the file is "
                + "truncated or of another data set.");
        int count = file.Length / record;
        var part = new Part(new byte[count], new byte[count * PixelBytes]);
        for (int i = 0; i < count; i++)
        {
            part.Labels[i] = file[i * record + labelBytes - 1];
            file.AsSpan(i * record + labelBytes, PixelBytes).CopyTo(part.Pixels.AsSpan(i * PixelBytes));
        }
        return part;
    }

    /// <summary>A dictionary with "data", a numpy array [N, 3072] of bytes, and a list of N labels.</summary>
    private static Part ReadPickle(DatasetInfo info, string name, byte[] file)
    {
        string labelKey = info.Classes == 10 ? "labels" : "fine_labels";
        if (PickleReader.Read(new MemoryStream(file), new PickleGlobals().AddNumpy(), name) is not PickleDictionary batch
            || batch["data"] is not NumpyArray { Type: ElementType.U8, Shape: [> 0, PixelBytes] } pixels
            || batch[labelKey] is not List<object?> labels)
            throw new EspalierException($"{name}: not a batch of {info.Name}: it must be a dictionary with "
                + $"data [N, {PixelBytes}] and {labelKey}.");
        byte[] bytes = new byte[labels.Count];
        for (int i = 0; i < bytes.Length; i++)
            bytes[i] = labels[i] is long label and >= 0 and <= byte.MaxValue ? (byte)label
                : throw new EspalierException($"{name}: the label of image {i} is no number from 0 to {info.Classes - 1}.");
        if (bytes.Length != pixels.Shape[0])
            throw new EspalierException($"{name}: {pixels.Shape[0]} images but {bytes.Length} labels; the file is damaged.");
        return new Part(bytes, pixels.Bytes);
    }

    private static byte[] Concatenate(Part[] parts)
    {
        byte[] all = new byte[parts.Sum(p => p.Pixels.Length)];
        int at = 0;
        foreach (var part in parts)
        {
            part.Pixels.CopyTo(all, at);
            at += part.Pixels.Length;
        }
        return all;
    }
}
