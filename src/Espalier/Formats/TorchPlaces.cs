using System.Buffers.Binary;

namespace Espalier.Formats;

/// <summary>Storages that lie in a file one by one, each behind its number of elements.</summary>
internal sealed class TorchPlaces(Stream stream) : ITorchStorages
{
    private readonly Dictionary<string, (long Offset, long Bytes)> known = [];

    /// <summary>The storage at the stream's position, which it leaves behind it.</summary>
    /// <param name="end">Where the part of the file ends that it is in.</param>
    public TorchStorage Add(string key, ElementType? type, long end)
    {
        Span<byte> length = stackalloc byte[8];
        if (end - stream.Position < length.Length) throw new EndOfStreamException();
        stream.ReadExactly(length);
        long count = BinaryPrimitives.ReadInt64LittleEndian(length), size = type?.Size() ?? 1;
        if (count < 0 || count > (end - stream.Position) / size)
            throw new InvalidDataException($"storage {ReadGuard.Quote(key)} has {count} elements; the file is cut short or damaged");
        if (!known.TryAdd(key, (stream.Position, count * size)))
            throw new InvalidDataException($"storage {ReadGuard.Quote(key)} is there twice");
        stream.Position += count * size;
        return new TorchStorage(type, key, count);
    }

    public long Bytes(TorchStorage storage) => Place(storage).Bytes;

    public long StoredBytes(TorchStorage storage) => Bytes(storage);

    public bool IsPacked(TorchStorage storage) => false;

    public Stream OpenAt(TorchStorage storage, long offset)
    {
        (long start, long bytes) = Place(storage);
        return new SliceStream(stream, start + offset, bytes - offset);
    }

    private (long Offset, long Bytes) Place(TorchStorage storage) => known.TryGetValue(storage.Key, out var place) ? place
        : throw new InvalidDataException($"has no storage {ReadGuard.Quote(storage.Key)}; the file is incomplete");
}
