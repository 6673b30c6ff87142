using System.Buffers.Binary;

namespace Espalier.Formats;

/// <summary>Reads a checkpoint of any supported format; the content decides which, never the file's extension.</summary>
public static class CheckpointFile
{
    /// <summary>Reads safetensors, numpy's .npz, or PyTorch's formats (.pth, .pt, .bin) with all values as floats.</summary>
    /// <exception cref="EspalierException">The file is missing, of no known format, damaged, or asks to run code.</exception>
    public static Checkpoint Read(string path) => Read(path, averaged: false);

    /// <param name="averaged">Whether the averages of the weights are wanted, of a file that has both.</param>
    internal static Checkpoint Read(string path, bool averaged) => ReadGuard.Open(path, stream => Sniff(stream, path, averaged));

    /// <summary>Reads from a seekable stream; <paramref name="source"/> names it in messages.</summary>
    /// <inheritdoc cref="Read(string)" path="/exception"/>
    public static Checkpoint Read(Stream stream, string source) => ReadGuard.Run(source, () => Sniff(stream, source, averaged: false));

    /// <summary>Opens a safetensors file for reading parts of it; null where the file is of another format.</summary>
    /// <inheritdoc cref="Read(string)" path="/exception"/>
    internal static SafetensorsReader? OpenSafetensors(string path)
    {
        bool matches = ReadGuard.Open(path, stream =>
        {
            Span<byte> start = stackalloc byte[16];
            return IsSafetensors(Start(stream, start), stream);
        });
        return matches ? SafetensorsReader.Open(path) : null;
    }

    private static ReadOnlySpan<byte> Start(Stream stream, Span<byte> buffer)
    {
        stream.Position = 0;
        return buffer[..stream.ReadAtLeast(buffer, buffer.Length, throwOnEndOfStream: false)];
    }

    /// <summary>
    /// Asked before "PK" is looked for: a header of the right length begins with these letters too. A zip file has its method of
    /// compression at the brace's place, of which there is none of that number.
    /// </summary>
    private static bool IsSafetensors(ReadOnlySpan<byte> start, Stream stream) => start.Length > 8 && start[8] == '{'
        && BinaryPrimitives.ReadUInt64LittleEndian(start) <= (ulong)stream.Length - 8;

    private static Checkpoint Sniff(Stream stream, string source, bool averaged)
    {
        Span<byte> buffer = stackalloc byte[OtherFiles.Length];
        ReadOnlySpan<byte> start = Start(stream, buffer);
        if (IsSafetensors(start, stream))
        {
            RequireOne(averaged);
            using var reader = new SafetensorsReader(stream, source, leaveOpen: true);
            return reader.ToCheckpoint();
        }
        if (start.StartsWith("PK"u8))
        {
            var zip = new ZipFileReader(stream);
            if (TorchArchive.Matches(zip)) return TorchArchive.Read(zip, source, averaged);
            if (Npz.Matches(zip))
            {
                RequireOne(averaged);
                return Npz.Read(zip, source);
            }
            throw new InvalidDataException("a zip file with neither .npy arrays nor a PyTorch data.pkl; not a checkpoint");
        }
        if (start.StartsWith(TorchStream.Magic)) return TorchStream.Read(stream, source, averaged);
        if (OtherFiles.IsTar(start) && TorchTar.Read(stream, source, averaged) is { } old) return old;
        if (start.StartsWith(Npy.Magic))
            throw new InvalidDataException("a single .npy array; save the named arrays of a model with numpy.savez");
        throw new InvalidDataException(OtherFiles.Describe(start)
            ?? "not a checkpoint: neither safetensors, .npz nor one of PyTorch's formats, or cut short");
    }

    private static void RequireOne(bool averaged)
    {
        if (averaged) throw new InvalidDataException("has one set of weights; leave AveragedWeights out");
    }
}
