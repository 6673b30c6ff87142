using System.Text;

namespace Espalier.Formats;

/// <summary>
/// State dicts that <c>torch.save</c> wrote since PyTorch 1.6: a zip with a pickle of the structure, <c>data.pkl</c>, and
/// one entry a storage. Only plain tensors are rebuilt; the pickle may name nothing else (see <see cref="TorchGlobals"/>). Of
/// TorchScript archives (<c>torch.jit.save</c>) the tensors of the modules are read under their names, and the program never.
/// </summary>
internal static class TorchArchive
{
    private const string PickleName = "/data.pkl";

    public static bool Matches(ZipFileReader zip) => FindPickle(zip) is not null;

    /// <summary>
    /// Reads the state dict as floats. One under the key model, state_dict, net, module or model_state_dict, or in the only
    /// dictionary of tensors, is found; the prefix "module." of DataParallel is dropped; other values are ignored.
    /// </summary>
    /// <exception cref="InvalidDataException">It is damaged, holds no state dict or names other globals.</exception>
    public static Checkpoint Read(ZipFileReader zip, string source, bool averaged)
    {
        ZipEntry pickle = FindPickle(zip) ?? throw new InvalidDataException("has no data.pkl; not written by torch.save");
        string root = pickle.Name[..^PickleName.Length];
        bool script = zip.Entries.Keys.Any(name => name.StartsWith(root + "/code/", StringComparison.Ordinal));
        CheckByteOrder(zip, root);
        object? top;
        PickleGlobals allowed = script ? TorchGlobals.Scripted : TorchGlobals.Allowed;
        using (Stream content = zip.Open(pickle)) top = PickleReader.Read(content, allowed, pickle.Length);
        List<(string Name, TorchTensor Tensor)> tensors = StateDict.Find(top, averaged, out string? note);
        return TorchStorages.Read(new ZipStorages(zip, root), tensors, source, note);
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

    /// <summary>Storages as entries of the zip.</summary>
    private sealed class ZipStorages(ZipFileReader zip, string root) : ITorchStorages
    {
        public long Bytes(TorchStorage storage) => Entry(storage).Length;

        public long StoredBytes(TorchStorage storage) => Entry(storage).CompressedLength;

        public bool IsPacked(TorchStorage storage) => Entry(storage).Deflated;

        public Stream OpenAt(TorchStorage storage, long offset) => zip.OpenAt(Entry(storage), offset);

        private ZipEntry Entry(TorchStorage storage) =>
            zip.Entries.TryGetValue($"{root}/data/{storage.Key}", out ZipEntry? entry) ? entry
            : throw new InvalidDataException($"has no storage {ReadGuard.Quote(storage.Key)}; the archive is incomplete");
    }
}
