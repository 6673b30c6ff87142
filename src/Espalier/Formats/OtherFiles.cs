using System.Text;

namespace Espalier.Formats;

/// <summary>What a file is that is no checkpoint, for whoever gave it.</summary>
internal static class OtherFiles
{
    /// <summary>How much of the beginning tells.</summary>
    public const int Length = 512;

    private const int TarMark = 257;

    public static bool IsTar(ReadOnlySpan<byte> start) => start.Length > TarMark + 5 && start[TarMark..].StartsWith("ustar"u8);

    /// <returns>What it is and what to do; null where nobody knows.</returns>
    /// <param name="start">The first <see cref="Length"/> bytes, or all of a shorter file.</param>
    public static string? Describe(ReadOnlySpan<byte> start)
    {
        if (start.IsEmpty) return "is empty; fetch or copy it again";
        string text = Encoding.Latin1.GetString(start).TrimStart().ToLowerInvariant();
        if (text.StartsWith("version https://git-lfs", StringComparison.Ordinal))
            return "only a pointer to the file, which Git LFS keeps elsewhere; fetch it with 'git lfs pull'";
        if (text.StartsWith("<!doctype html", StringComparison.Ordinal) || text.StartsWith("<html", StringComparison.Ordinal))
            return "a web page and not a checkpoint; download the file itself";
        if (IsTar(start)) return "a tar archive; unpack it and give the checkpoint in it";
        string? packed = start switch
        {
            [0x1f, 0x8b, ..] => "gzip",
            [(byte)'7', (byte)'z', 0xbc, 0xaf, ..] => "7-Zip",
            [(byte)'R', (byte)'a', (byte)'r', (byte)'!', ..] => "RAR",
            [0xfd, (byte)'7', (byte)'z', (byte)'X', ..] => "xz",
            [(byte)'B', (byte)'Z', (byte)'h', ..] => "bzip2",
            [0x28, 0xb5, 0x2f, 0xfd, ..] => "Zstandard",
            _ => null,
        };
        if (packed is not null) return $"packed with {packed}; unpack it first";
        if (start is [0x89, (byte)'H', (byte)'D', (byte)'F', ..])
            return "HDF5, as Keras writes it, which is not read; convert it to safetensors or ONNX";
        if (start.Length > 8 && start[4..].StartsWith("TFL3"u8)) return "of TensorFlow Lite, which is not read; convert it to ONNX";
        if (start.StartsWith("GGUF"u8)) return "GGUF, which is not read; convert it to safetensors";
        if (start is [0x08, < 32, 0x12 or 0x3a, ..]) return "a network in ONNX; give its name the ending .onnx";
        if (start is [0x80, >= 2 and <= 5, ..])
            return "a pickle that torch.save has not written; torch.save the model.state_dict() instead";
        bool json = text is ['{' or '[', ..] && !text.Contains('\0');
        return json ? "a text in JSON and holds no weights; give the checkpoint beside it" : null;
    }
}
