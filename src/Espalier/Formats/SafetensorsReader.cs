using System.Buffers.Binary;

namespace Espalier.Formats;

/// <summary>
/// An open safetensors file: the header is read and checked, data only where asked for. Entries keep their stored type;
/// the training state uses that for counters and random states.
/// </summary>
public sealed class SafetensorsReader : IDisposable
{
    // The limit that the format's own library sets.
    private const ulong MaxHeaderBytes = 100_000_000;

    private readonly Stream stream;
    private readonly bool leaveOpen;
    private readonly long dataStart;
    private readonly OrderedDictionary<string, SafetensorsInfo> entries;
    private readonly Dictionary<string, string> metadata = [];

    internal SafetensorsReader(Stream stream, string source, bool leaveOpen)
    {
        (this.stream, Source, this.leaveOpen) = (stream, source, leaveOpen);
        Span<byte> prefix = stackalloc byte[8];
        stream.Position = 0;
        stream.ReadExactly(prefix);
        ulong length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
        if (length > MaxHeaderBytes) throw new InvalidDataException($"claims a header of {length} bytes; not a safetensors file");
        if (length > (ulong)stream.Length - 8)
            throw new InvalidDataException("the file is truncated inside its header; fetch it again");
        byte[] json = new byte[length];
        stream.ReadExactly(json);
        if (json.Length == 0 || json[0] != '{') throw new InvalidDataException("the header is not a JSON object");
        dataStart = 8 + (long)length;
        entries = SafetensorsHeader.Parse(json, stream.Length - dataStart, metadata);
    }

    /// <summary>Opens a file and checks its header.</summary>
    /// <exception cref="EspalierException">The file is missing or damaged.</exception>
    public static SafetensorsReader Open(string path)
    {
        if (!File.Exists(path)) throw new EspalierException($"{path}: no such file; check the path");
        return ReadGuard.Run(path, () =>
        {
            var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16);
            try
            {
                return new SafetensorsReader(stream, path, leaveOpen: false);
            }
            catch
            {
                stream.Dispose();
                throw;
            }
        });
    }

    /// <summary>The file, for messages.</summary>
    public string Source { get; }

    /// <summary>The strings of <c>__metadata__</c>.</summary>
    public IReadOnlyDictionary<string, string> Metadata => metadata;

    /// <summary>By name, in the header's order.</summary>
    public IReadOnlyDictionary<string, SafetensorsInfo> Entries => entries;

    /// <summary>Reads an entry of any type into <paramref name="destination"/> as floats.</summary>
    /// <exception cref="EspalierException">No such entry, another number of elements, or the file cannot be read.</exception>
    public void ReadFloats(string name, Span<float> destination)
    {
        SafetensorsInfo info = Find(name, null);
        if (destination.Length != info.Count)
            throw new EspalierException(
                $"{Source}: entry '{name}' has {info.Count} elements where {destination.Length} are wanted");
        ReadFloats(name, 0, destination);
    }

    /// <summary>Reads a part of an entry, from element <paramref name="start"/> on.</summary>
    /// <exception cref="EspalierException">No such entry, too few elements, or the file cannot be read.</exception>
    internal void ReadFloats(string name, int start, Span<float> destination)
    {
        SafetensorsInfo info = Find(name, null);
        if (start < 0 || start + (long)destination.Length > info.Count)
            throw new EspalierException(
                $"{Source}: entry '{name}' has {info.Count} elements where {start + (long)destination.Length} are wanted");
        try
        {
            stream.Position = dataStart + info.Offset + (long)start * info.Type.Size();
            ElementReader.ReadFloats(stream, info.Type, destination);
        }
        catch (IOException e)
        {
            throw ReadGuard.Described(Source, e);
        }
    }

    /// <summary>The stored bytes of an entry of any type, little-endian.</summary>
    /// <exception cref="EspalierException">No such entry, 2 GiB or more, or the file cannot be read.</exception>
    public byte[] ReadBytes(string name)
    {
        SafetensorsInfo info = Find(name, null);
        if (info.Length > Array.MaxLength) throw new EspalierException($"{Source}: entry '{name}' is too large to read as bytes");
        return ReadGuard.Run(Source, () =>
        {
            byte[] bytes = new byte[info.Length];
            stream.Position = dataStart + info.Offset;
            stream.ReadExactly(bytes);
            return bytes;
        });
    }

    /// <summary>The values of an I64 or U64 entry.</summary>
    /// <exception cref="EspalierException">No such entry, another type, or the file cannot be read.</exception>
    public long[] ReadLongs(string name)
    {
        SafetensorsInfo info = Find(name, [ElementType.I64, ElementType.U64]);
        long[] values = new long[info.Count];
        Buffer.BlockCopy(ReadBytes(name), 0, values, 0, (int)info.Length);
        return values;
    }

    /// <summary>All entries as floats.</summary>
    internal Checkpoint ToCheckpoint()
    {
        var arrays = new List<NamedArray>(entries.Count);
        foreach (SafetensorsInfo info in entries.Values)
        {
            float[] data = new float[info.Count];
            ReadFloats(info.Name, data);
            arrays.Add(new NamedArray(info.Name, info.Shape, data));
        }
        return new Checkpoint(arrays, metadata, Source);
    }

    public void Dispose()
    {
        if (!leaveOpen) stream.Dispose();
    }

    private SafetensorsInfo Find(string name, ElementType[]? types)
    {
        if (!entries.TryGetValue(name, out SafetensorsInfo? info))
            throw new EspalierException($"{Source}: has no entry '{name}'; is it a file of another kind?");
        if (types is not null && !types.Contains(info.Type))
            throw new EspalierException(
                $"{Source}: entry '{name}' is {info.Type.SafetensorsName()} where whole numbers are wanted");
        return info;
    }
}
