using Espalier.Formats;

namespace Espalier.Models;

/// <summary>The tensors of a checkpoint under the model's own names, whatever the file calls them. A safetensors file is read
/// tensor by tensor, when one is asked for; other formats are there whole once they are open.</summary>
internal abstract class ModelTensors : IDisposable
{
    /// <summary>The file, for messages.</summary>
    public abstract string Source { get; }

    public abstract IReadOnlyDictionary<string, string> Metadata { get; }

    /// <summary>In the file's order.</summary>
    public abstract IReadOnlyDictionary<string, int[]> Shapes { get; }

    /// <summary>Attention heads, where the layout tells; else null.</summary>
    public virtual int? Heads => null;

    /// <summary>Whose names the file has.</summary>
    public virtual VitLayout Layout => VitLayout.Own;

    /// <summary>Whether a tensor is nowhere in the file, and counts as zeros.</summary>
    public virtual bool IsLeftOut(string name) => false;

    /// <summary>Which weights these are, where the file has several; else null.</summary>
    public virtual string? Note => null;

    /// <param name="averaged">Whether the averages of the weights are wanted, of a file that has both.</param>
    /// <exception cref="EspalierException">The file is missing, of no known format, or damaged.</exception>
    public static ModelTensors Open(string path, bool averaged = false)
    {
        if (averaged || CheckpointFile.OpenSafetensors(path) is not { } reader) return Of(CheckpointFile.Read(path, averaged));
        try
        {
            if (!PublishedNames.IsGoogle(reader.Entries.Keys)) return PublishedNames.ToModelNames(new StoredTensors(reader));
            using (reader) return Of(reader.ToCheckpoint());
        }
        catch
        {
            reader.Dispose();
            throw;
        }
    }

    /// <summary>Of a file that has been read whole.</summary>
    internal static ModelTensors Of(Checkpoint file) => ReadGuard.Run(file.Source, () =>
        PublishedNames.IsGoogle(file.Arrays.Keys) && !file.Metadata.ContainsKey(ModelStructure.MetadataKey)
            ? new ReadTensors(file, GoogleNames.Convert(file), GoogleNames.Heads(file))
            : PublishedNames.ToModelNames(new ReadTensors(file, file.Arrays, heads: null)));

    /// <summary>Copies a tensor; threads may call it at once.</summary>
    /// <exception cref="EspalierException">The file cannot be read.</exception>
    public void Read(string name, Span<float> destination) => Read(name, 0, destination);

    /// <summary>The same of a part of it, from value <paramref name="start"/> on.</summary>
    public abstract void Read(string name, int start, Span<float> destination);

    /// <summary>All of a tensor.</summary>
    public float[] Read(string name)
    {
        var values = new float[ArrayShape.Count(Shapes[name])];
        Read(name, values);
        return values;
    }

    public virtual void Dispose()
    {
    }

    /// <summary>A file that has been read whole.</summary>
    private sealed class ReadTensors(Checkpoint file, IReadOnlyDictionary<string, NamedArray> arrays, int? heads) : ModelTensors
    {
        public override string Source => file.Source;

        public override IReadOnlyDictionary<string, string> Metadata => file.Metadata;

        public override IReadOnlyDictionary<string, int[]> Shapes =>
            field ??= new OrderedDictionary<string, int[]>(arrays.Select(a => KeyValuePair.Create(a.Key, a.Value.Shape)));

        public override int? Heads => heads;

        public override string? Note => file.Note;

        public override void Read(string name, int start, Span<float> destination) =>
            arrays[name].Data.AsSpan(start, destination.Length).CopyTo(destination);
    }
}
