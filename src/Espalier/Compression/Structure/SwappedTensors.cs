using Espalier.Tensors;

namespace Espalier.Compression;

/// <summary>
/// Parameters and buffers that hold other content for a while. Disposing it brings the old content back; after
/// <see cref="Commit"/> the new one stays.
/// </summary>
internal sealed class SwappedTensors : IDisposable
{
    private readonly List<(Tensor Tensor, Tensor Other)> swapped = [];

    /// <summary>Puts <paramref name="content"/>, which is used up, into <paramref name="tensor"/>.</summary>
    public void Put(Tensor tensor, Tensor content)
    {
        tensor.Exchange(content);
        swapped.Add((tensor, content));
    }

    /// <summary>Puts a copy of the tensor's own content into it, to be changed.</summary>
    public void PutCopy(Tensor tensor)
    {
        Tensor copy = Tensor.Unscoped(tensor.Shape);
        copy.CopyFrom(tensor);
        Put(tensor, copy);
    }

    public void Commit()
    {
        foreach (var (_, old) in swapped) old.Dispose();
        swapped.Clear();
    }

    public void Dispose()
    {
        // Backwards: a tensor may have been swapped twice.
        foreach (var (tensor, old) in Enumerable.Reverse(swapped))
        {
            tensor.Exchange(old);
            old.Dispose();
        }
        swapped.Clear();
    }
}
