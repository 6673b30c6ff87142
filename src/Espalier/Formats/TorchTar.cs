using System.Buffers.Binary;
using System.Globalization;

namespace Espalier.Formats;

/// <summary>
/// State dicts that <c>torch.save</c> wrote before PyTorch 0.2: a tar of which <c>storages</c> and <c>tensors</c> are rows of small
/// pickles with raw numbers in between, and <c>pickle</c> is the structure, which names tensors by number.
/// </summary>
internal static class TorchTar
{
    private const int MostEntries = 64;

    private static readonly string[] Names = ["storages", "tensors", "pickle"];

    /// <summary>Null where a tar archive is no such file.</summary>
    /// <exception cref="InvalidDataException">It is damaged.</exception>
    public static Checkpoint? Read(Stream stream, string source, bool averaged)
    {
        try
        {
            return Parts(stream) is { } parts ? Read(stream, parts, source, averaged) : null;
        }
        catch (OverflowException e)
        {
            throw new InvalidDataException("a number in it is out of its range; it is damaged", e);
        }
    }

    private static Checkpoint Read(Stream stream, Dictionary<string, (long Start, long Length)> parts, string source, bool averaged)
    {
        var places = new TorchPlaces(stream);
        var storages = Storages(new Part(stream, parts["storages"]), places);
        Dictionary<long, TorchTensor> tensors = Tensors(new Part(stream, parts["tensors"]), storages);
        PickleGlobals named = TorchGlobals.Allowed.Loading(id =>
            Number(id) is { } key && tensors.TryGetValue(key, out TorchTensor? tensor) ? tensor
                : throw new InvalidDataException("its pickle names a tensor that is not in it, or a class"));
        object? top = new Part(stream, parts["pickle"]).Pickle(named);
        return TorchStorages.Read(places, StateDict.Find(top, averaged, out string? note), source, note);
    }

    /// <summary>Where the three files lie.</summary>
    private static Dictionary<string, (long Start, long Length)>? Parts(Stream stream)
    {
        stream.Position = 0;
        var tar = new TarFile(stream);
        var parts = new Dictionary<string, (long, long)>();
        try
        {
            for (int i = 0; i < MostEntries && parts.Count < Names.Length && tar.Next() is var (name, length); i++)
                if (Names.Contains(name) && !parts.TryAdd(name, (stream.Position, length)))
                    throw new InvalidDataException($"the tar archive has two files '{name}'");
        }
        catch (InvalidDataException) when (parts.Count == 0)
        {
            return null;
        }
        return parts.Count == Names.Length ? parts : null;
    }

    /// <summary>By their numbers, which were addresses. One that is a part of another is that one from an element on.</summary>
    private static Dictionary<long, (TorchStorage Root, long First)> Storages(Part part, TorchPlaces places)
    {
        var all = new Dictionary<long, (TorchStorage Root, long First)>();
        for (long left = part.Count(); left > 0; left--)
        {
            if (part.Pickle(TorchGlobals.Allowed) is not (object?[] and [long key, _, ElementType type]))
                throw Damaged("storages");
            if (!all.TryAdd(key, (part.Storage(places, key, type), 0))) throw Damaged("storages");
        }
        if (part.Pickle(TorchGlobals.Allowed) is not List<object?> views) throw Damaged("storages");
        foreach (object? view in views)
        {
            if (view is not (object?[] and [long key, long root, long and >= 0 and var first, long])
                || !all.TryGetValue(root, out var whole) || !all.TryAdd(key, (whole.Root, checked(whole.First + first))))
                throw Damaged("storages");
        }
        return all;
    }

    /// <summary>By their numbers; each is followed by its rank, sizes, strides and first element.</summary>
    private static Dictionary<long, TorchTensor> Tensors(Part part, Dictionary<long, (TorchStorage Root, long First)> storages)
    {
        var all = new Dictionary<long, TorchTensor>();
        for (long left = part.Count(); left > 0; left--)
        {
            if (part.Pickle(TorchGlobals.Allowed) is not (object?[] and [long key, var storage, _]))
                throw Damaged("tensors");
            long rank = (int)part.Long();
            if (rank is < 0 or > ArrayShape.MaxRank) throw Damaged("tensors");
            object?[] sizes = [.. part.Longs(rank)], strides = [.. part.Longs(rank)];
            long first = part.Long();
            // A tensor without a storage has no elements.
            if (storage is null) continue;
            if (storage is not long number || !storages.TryGetValue(number, out var place) || first < 0
                || !all.TryAdd(key, TorchTensor.Make(place.Root, checked(place.First + first), sizes, strides)))
                throw Damaged("tensors");
        }
        return all;
    }

    private static long? Number(object? id) => id is long number ? number
        : NumpyPickle.Text(id) is { } text && long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long parsed) ? parsed : null;

    private static InvalidDataException Damaged(string part) => new($"its file '{part}' is damaged");

    /// <summary>One file of the archive, from its beginning to its end.</summary>
    private sealed class Part
    {
        private readonly Stream stream;
        private readonly long end;

        public Part(Stream stream, (long Start, long Length) place)
        {
            if (place.Length > stream.Length - place.Start) throw new EndOfStreamException();
            (this.stream, end) = (stream, place.Start + place.Length);
            stream.Position = place.Start;
        }

        public object? Pickle(PickleGlobals allowed)
        {
            long start = stream.Position;
            object? value = PickleReader.Read(stream, allowed, end - start, out long length);
            stream.Position = start + length;
            return value;
        }

        /// <summary>How many follow; each takes more than a byte.</summary>
        public long Count() =>
            Pickle(TorchGlobals.Allowed) is long count && count >= 0 && count <= end - stream.Position ? count
                : throw new InvalidDataException("it has no number of its storages or tensors; it is damaged");

        public TorchStorage Storage(TorchPlaces places, long key, ElementType type) =>
            places.Add(key.ToString(CultureInfo.InvariantCulture), type, end);

        public long Long()
        {
            Span<byte> bytes = stackalloc byte[8];
            if (end - stream.Position < bytes.Length) throw new EndOfStreamException();
            stream.ReadExactly(bytes);
            return BinaryPrimitives.ReadInt64LittleEndian(bytes);
        }

        public IEnumerable<object?> Longs(long count)
        {
            for (long i = 0; i < count; i++) yield return Long();
        }
    }
}
