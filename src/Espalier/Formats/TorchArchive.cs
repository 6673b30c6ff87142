using System.Numerics;
using System.Text;

namespace Espalier.Formats;

/// <summary>
/// State dicts that <c>torch.save</c> wrote since PyTorch 1.6: a zip with a pickle of the structure, <c>data.pkl</c>, and
/// one entry a storage. Only plain tensors are rebuilt; the pickle may name nothing else (see <see cref="TorchGlobals"/>). Of
/// TorchScript archives (<c>torch.jit.save</c>) the tensors of the modules are read under their names, and the program never.
/// </summary>
public static class TorchArchive
{
    private const string PickleName = "/data.pkl";

    // Views that share a storage each get their own copy. Tied weights need a factor of two or so; a file that asks for
    // far more than it holds is made to exhaust memory.
    private const long SharingLimit = 16, FreeElements = 1 << 20;

    /// <summary>
    /// Reads the state dict as floats. One under the key model, state_dict, net, module or model_state_dict, or in the only
    /// dictionary of tensors, is found; the prefix "module." of DataParallel is dropped; other values are ignored.
    /// </summary>
    /// <exception cref="EspalierException">The file is missing, damaged, holds no state dict or names other globals.</exception>
    public static Checkpoint Read(string path) => ReadGuard.Open(path, stream => Read(new ZipFileReader(stream), path));

    internal static bool Matches(ZipFileReader zip) => FindPickle(zip) is not null;

    internal static Checkpoint Read(ZipFileReader zip, string source)
    {
        ZipEntry pickle = FindPickle(zip) ?? throw new InvalidDataException("has no data.pkl; not written by torch.save");
        string root = pickle.Name[..^PickleName.Length];
        bool script = zip.Entries.Keys.Any(name => name.StartsWith(root + "/code/", StringComparison.Ordinal));
        CheckByteOrder(zip, root);
        object? top;
        PickleGlobals allowed = script ? TorchGlobals.Scripted : TorchGlobals.Allowed;
        using (Stream content = zip.Open(pickle)) top = PickleReader.Read(content, allowed, pickle.Length);
        List<(string Name, TorchTensor Tensor)> tensors = StateDict.Find(top);
        CheckBudget(zip, root, tensors);
        var arrays = new List<NamedArray>(tensors.Count);
        foreach ((string name, TorchTensor tensor) in tensors)
            arrays.Add(new NamedArray(name, tensor.Shape, ReadTensor(zip, root, name, tensor)));
        return new Checkpoint(arrays, source: source);
    }

    private static ZipEntry? FindPickle(ZipFileReader zip) => zip.Entries.Values.FirstOrDefault(entry =>
        entry.Name.EndsWith(PickleName, StringComparison.Ordinal)
        && entry.Name.IndexOf('/') == entry.Name.Length - PickleName.Length);

    private static void CheckByteOrder(ZipFileReader zip, string root)
    {
        if (!zip.Entries.TryGetValue(root + "/byteorder", out ZipEntry? entry)) return;
        using Stream content = zip.Open(entry);
        Span<byte> text = stackalloc byte[16];
        text = text[..content.ReadAtLeast(text, text.Length, throwOnEndOfStream: false)];
        if (Encoding.Latin1.GetString(text).Trim() != "little")
            throw new InvalidDataException("written by a big-endian machine, which is not read; save it again on another one");
    }

    private static void CheckBudget(ZipFileReader zip, string root, List<(string Name, TorchTensor Tensor)> tensors)
    {
        long stored = 0;
        foreach (TorchStorage storage in tensors.Select(t => t.Tensor.Storage).DistinctBy(s => s.Key))
            stored += Entry(zip, root, storage).Length / (storage.Type?.Size() ?? 1);
        long wanted = 0;
        foreach ((string name, TorchTensor tensor) in tensors)
        {
            wanted += tensor.Count + Extent(zip, root, name, tensor);
            if (Entry(zip, root, tensor.Storage).Deflated) wanted += tensor.Offset;    // all before it has to be unpacked
            if (wanted > FreeElements + SharingLimit * stored)
                throw new InvalidDataException($"its tensors have far more elements than the {stored} stored ones; refused");
        }
    }

    private static float[] ReadTensor(ZipFileReader zip, string root, string name, TorchTensor tensor)
    {
        if (tensor.Count == 0) return [];
        float[] data = new float[Extent(zip, root, name, tensor)];
        using (Stream content = zip.OpenAt(Entry(zip, root, tensor.Storage), tensor.Offset * tensor.Type.Size()))
            ElementReader.ReadFloats(content, tensor.Type, data);
        if (ArrayShape.IsRowMajor(tensor.Shape, tensor.Strides)) return data;
        float[] rows = new float[tensor.Count];
        ArrayShape.Gather(data, tensor.Shape, tensor.Strides, rows);
        return rows;
    }

    /// <summary>Elements of the storage from the view's first to its last, all of which exist.</summary>
    private static int Extent(ZipFileReader zip, string root, string name, TorchTensor tensor)
    {
        if (tensor.Count == 0) return 0;
        ZipEntry entry = Entry(zip, root, tensor.Storage);
        BigInteger extent = ArrayShape.Extent(tensor.Shape, tensor.Strides);
        if ((tensor.Offset + extent) * tensor.Type.Size() > entry.Length)
            throw new InvalidDataException(
                $"tensor {ReadGuard.Quote(name)} reaches beyond the {entry.Length} bytes of its storage");
        if (extent > Array.MaxLength) throw new InvalidDataException($"tensor {ReadGuard.Quote(name)} spans too many elements");
        return (int)extent;
    }

    private static ZipEntry Entry(ZipFileReader zip, string root, TorchStorage storage)
    {
        if (!zip.Entries.TryGetValue($"{root}/data/{storage.Key}", out ZipEntry? entry))
            throw new InvalidDataException($"has no storage {ReadGuard.Quote(storage.Key)}; the archive is incomplete");
        if (entry.Length / (storage.Type?.Size() ?? 1) < storage.Count)
            throw new InvalidDataException(
                $"storage {ReadGuard.Quote(storage.Key)} has {entry.Length} bytes for {storage.Count} elements");
        return entry;
    }
}
