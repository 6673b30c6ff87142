using System.Numerics;

namespace Espalier.Formats;

/// <summary>Where the values of a PyTorch file lie.</summary>
internal interface ITorchStorages
{
    /// <summary>Of the values.</summary>
    long Bytes(TorchStorage storage);

    /// <summary>What they take in the file.</summary>
    long StoredBytes(TorchStorage storage);

    /// <summary>Whether all before a place has to be unpacked to get there.</summary>
    bool IsPacked(TorchStorage storage);

    Stream OpenAt(TorchStorage storage, long offset);
}

/// <summary>Reads tensors, which are views of storages, as floats of their own.</summary>
internal static class TorchStorages
{
    // Views that share a storage each get their own copy. Tied weights need a factor of two or so; a file that asks for
    // far more than it holds is made to exhaust memory. What it holds are its own bytes: zeros deflate to a thousandth.
    private const long SharingLimit = 16, FreeElements = 1 << 20;

    public static Checkpoint Read(ITorchStorages storages, List<(string Name, TorchTensor Tensor)> tensors, string source,
        string? note)
    {
        CheckBudget(storages, tensors);
        return new Checkpoint([.. tensors.Select(t => new NamedArray(t.Name, t.Tensor.Shape, Read(storages, t.Name, t.Tensor)))],
            source: source) { Note = note };
    }

    private static void CheckBudget(ITorchStorages storages, List<(string Name, TorchTensor Tensor)> tensors)
    {
        long stored = 0;
        foreach (TorchStorage storage in tensors.Select(t => t.Tensor.Storage).DistinctBy(s => s.Key))
        {
            long bytes = storages.Bytes(storage), size = storage.Type?.Size() ?? 1;
            if (bytes / size < storage.Count)
                throw new InvalidDataException(
                    $"storage {ReadGuard.Quote(storage.Key)} has {bytes} bytes for {storage.Count} elements");
            stored += storages.StoredBytes(storage) / size;
        }
        long wanted = 0;
        foreach ((string name, TorchTensor tensor) in tensors)
        {
            if (tensor.Count == 0) continue;
            wanted += (long)tensor.Count + Extent(storages, name, tensor);
            if (storages.IsPacked(tensor.Storage)) wanted += tensor.Offset;
            if (wanted > FreeElements + SharingLimit * stored)
                throw new InvalidDataException(
                    $"its tensors have far more elements than its storages have room for ({stored}); refused");
        }
    }

    private static float[] Read(ITorchStorages storages, string name, TorchTensor tensor)
    {
        if (tensor.Count == 0) return [];
        float[] data = new float[Extent(storages, name, tensor)];
        using (Stream content = storages.OpenAt(tensor.Storage, tensor.Offset * tensor.Type.Size()))
            ElementReader.ReadFloats(content, tensor.Type, data);
        if (ArrayShape.IsRowMajor(tensor.Shape, tensor.Strides)) return data;
        float[] rows = new float[tensor.Count];
        ArrayShape.Gather(data, tensor.Shape, tensor.Strides, rows);
        return rows;
    }

    /// <summary>Elements of the storage from the view's first to its last, all of which exist.</summary>
    private static int Extent(ITorchStorages storages, string name, TorchTensor tensor)
    {
        if (tensor.Count == 0) return 0;
        long bytes = storages.Bytes(tensor.Storage);
        BigInteger extent = ArrayShape.Extent(tensor.Shape, tensor.Strides);
        if ((tensor.Offset + extent) * tensor.Type.Size() > bytes)
            throw new InvalidDataException($"tensor {ReadGuard.Quote(name)} reaches beyond the {bytes} bytes of its storage");
        if (extent > Array.MaxLength) throw new InvalidDataException($"tensor {ReadGuard.Quote(name)} spans too many elements");
        return (int)extent;
    }
}
