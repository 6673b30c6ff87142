using System.Buffers.Binary;

namespace Espalier.Formats;

/// <summary>
/// State dicts that <c>torch.save</c> wrote before PyTorch 1.6, as the older files of torchvision are: a row of pickles (a magic
/// number, a version, facts of the machine, the structure, the keys of the storages), then each storage's length and values.
/// </summary>
internal static class TorchStream
{
    private const long KnownVersion = 1001;

    /// <summary>Protocol 2, then a number of ten bytes.</summary>
    public static ReadOnlySpan<byte> Magic => [0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20];

    public static Checkpoint Read(Stream stream, string source, bool averaged)
    {
        var all = new Dictionary<string, TorchStorage>();
        PickleGlobals allowed = TorchGlobals.Allowed.Watched(id => all.TryAdd(((TorchStorage)id!).Key, (TorchStorage)id));
        stream.Position = 0;
        Next();
        if (Next() is not KnownVersion)
            throw new InvalidDataException("written by a version of PyTorch that is not read; save it again");
        if (Next() is PickleDictionary machine && machine["little_endian"] is false)
            throw new InvalidDataException("written by a big-endian machine, which is not read; save it again on another one");
        List<(string Name, TorchTensor Tensor)> tensors = StateDict.Find(Next(), averaged, out string? note);
        if (Next() is not List<object?> keys) throw new InvalidDataException("has no list of its storages; it is damaged");
        var places = new Places(stream);
        foreach (object? key in keys)
            places.Add(key is string name && all.TryGetValue(name, out TorchStorage? storage) ? storage
                : throw new InvalidDataException("has a storage that no tensor of it mentions; it is damaged"));
        return TorchStorages.Read(places, tensors, source, note);

        object? Next()
        {
            long start = stream.Position;
            object? value = PickleReader.Read(stream, allowed, stream.Length - start, out long length);
            stream.Position = start + length;
            return value;
        }
    }

    /// <summary>Storages one behind another.</summary>
    private sealed class Places(Stream stream) : ITorchStorages
    {
        private readonly Dictionary<string, (long Offset, long Bytes)> known = [];

        /// <summary>The storage at the stream's position.</summary>
        public void Add(TorchStorage storage)
        {
            Span<byte> length = stackalloc byte[8];
            stream.ReadExactly(length);
            long count = BinaryPrimitives.ReadInt64LittleEndian(length), size = storage.Type?.Size() ?? 1;
            if (count != storage.Count || count > (stream.Length - stream.Position) / size)
                throw new InvalidDataException($"storage {ReadGuard.Quote(storage.Key)} has {count} elements of {storage.Count}; "
                    + "the file is cut short or damaged");
            if (!known.TryAdd(storage.Key, (stream.Position, count * size)))
                throw new InvalidDataException($"storage {ReadGuard.Quote(storage.Key)} is there twice");
            stream.Position += count * size;
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
}
