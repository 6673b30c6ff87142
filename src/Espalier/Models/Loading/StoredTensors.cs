using Espalier.Formats;

namespace Espalier.Models;

/// <summary>An open safetensors file with the model's own names or timm's.</summary>
internal sealed class StoredTensors : ModelTensors
{
    private readonly SafetensorsReader reader;
    private readonly Dictionary<string, Place> places;
    private readonly Lock gate = new();

    private StoredTensors(SafetensorsReader reader, OrderedDictionary<string, int[]> shapes, Dictionary<string, Place> places)
    {
        (this.reader, Shapes, this.places) = (reader, shapes, places);
    }

    public override string Source => reader.Source;

    public override IReadOnlyDictionary<string, string> Metadata => reader.Metadata;

    public override IReadOnlyDictionary<string, int[]> Shapes { get; }

    /// <summary>The file's tensors, or null where it has a layout whose values must be reordered. Takes the reader over. Files of this
    /// library have their names as they are.</summary>
    public static StoredTensors? Over(SafetensorsReader reader)
    {
        var shapes = new OrderedDictionary<string, int[]>();
        var places = new Dictionary<string, Place>();
        bool foreign = !reader.Metadata.ContainsKey(ModelStructure.MetadataKey);
        bool timm = foreign && PublishedNames.IsTimm(reader.Entries.Keys);
        if (foreign && !timm && PublishedNames.IsGoogle(reader.Entries.Keys)) return null;
        foreach (SafetensorsInfo entry in reader.Entries.Values)
        {
            if (!timm)
            {
                shapes.Add(entry.Name, entry.Shape);
                places.Add(entry.Name, new Place(entry.Name, 0));
                continue;
            }
            int start = 0;
            foreach (var (name, shape) in TimmNames.Parts(entry.Name, entry.Shape))
            {
                if (!shapes.TryAdd(name, shape)) throw new InvalidDataException($"two arrays both stand for {name}");
                places.Add(name, new Place(entry.Name, start));
                start += (int)ArrayShape.Count(shape);
            }
        }
        return new StoredTensors(reader, shapes, places);
    }

    public override void Read(string name, int start, Span<float> destination)
    {
        Place place = places[name];
        lock (gate) reader.ReadFloats(place.Entry, place.Start + start, destination);
    }

    public override void Dispose() => reader.Dispose();

    /// <summary>Where a tensor's values begin: in which entry, and after how many of its elements.</summary>
    private readonly record struct Place(string Entry, int Start);
}
