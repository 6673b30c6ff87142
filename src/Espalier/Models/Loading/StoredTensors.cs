using Espalier.Formats;

namespace Espalier.Models;

/// <summary>An open safetensors file with the names of the model or of a published layout, whose values lie as they are used.
/// </summary>
internal sealed class StoredTensors : ModelTensors
{
    private readonly SafetensorsReader reader;
    private readonly Dictionary<string, Place> places;
    private readonly Lock gate = new();

    private StoredTensors(SafetensorsReader reader, OrderedDictionary<string, int[]> shapes, Dictionary<string, Place> places,
        VitLayout layout)
    {
        (this.reader, Shapes, this.places, Layout) = (reader, shapes, places, layout);
    }

    public override string Source => reader.Source;

    public override IReadOnlyDictionary<string, string> Metadata => reader.Metadata;

    public override IReadOnlyDictionary<string, int[]> Shapes { get; }

    public override VitLayout Layout { get; }

    /// <summary>The file's tensors, or null where it has a layout whose values must be reordered. Takes the reader over. Files of
    /// this library have their names as they are.</summary>
    public static StoredTensors? Over(SafetensorsReader reader)
    {
        var shapes = new OrderedDictionary<string, int[]>();
        var places = new Dictionary<string, Place>();
        bool foreign = !reader.Metadata.ContainsKey(ModelStructure.MetadataKey);
        if (foreign && PublishedNames.IsGoogle(reader.Entries.Keys)) return null;
        string prefix = foreign ? PublishedNames.PrefixOf([.. reader.Entries.Keys]) : "";
        VitLayout layout = foreign
            ? VitNames.LayoutOf([.. reader.Entries.Keys.Select(n => PublishedNames.Without(prefix, n))]) : VitLayout.Own;
        foreach (SafetensorsInfo entry in reader.Entries.Values)
        {
            int start = 0;
            foreach (var (name, shape) in VitNames.Parts(PublishedNames.Without(prefix, entry.Name), entry.Shape, layout))
            {
                if (!shapes.TryAdd(name, shape)) throw new InvalidDataException($"two arrays both stand for {name}");
                places.Add(name, new Place(entry.Name, start));
                start += (int)ArrayShape.Count(shape);
            }
        }
        if (foreign)
            foreach (var (name, length) in VitNames.MissingBiases(shapes).ToList()) shapes.Add(name, [length]);
        return new StoredTensors(reader, shapes, places, layout);
    }

    public override void Read(string name, int start, Span<float> destination)
    {
        if (!places.TryGetValue(name, out Place place))
        {
            destination.Clear();        // a bias that the file leaves out
            return;
        }
        lock (gate) reader.ReadFloats(place.Entry, place.Start + start, destination);
    }

    public override void Dispose() => reader.Dispose();

    /// <summary>Where a tensor's values begin: in which entry, and after how many of its elements.</summary>
    private readonly record struct Place(string Entry, int Start);
}
