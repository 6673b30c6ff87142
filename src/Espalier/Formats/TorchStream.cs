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
        var places = new TorchPlaces(stream);
        foreach (object? key in keys)
        {
            TorchStorage storage = key is string name && all.TryGetValue(name, out TorchStorage? named) ? named
                : throw new InvalidDataException("has a storage that no tensor of it mentions; it is damaged");
            if (places.Add(storage.Key, storage.Type, stream.Length).Count != storage.Count)
                throw new InvalidDataException($"storage {ReadGuard.Quote(storage.Key)} has other than {storage.Count} elements; "
                    + "the file is cut short or damaged");
        }
        return TorchStorages.Read(places, tensors, source, note);

        object? Next()
        {
            long start = stream.Position;
            object? value = PickleReader.Read(stream, allowed, stream.Length - start, out long length);
            stream.Position = start + length;
            return value;
        }
    }
}
