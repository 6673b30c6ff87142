using Espalier.Formats;

namespace Espalier.Models;

/// <summary>
/// Tensors of a file under other names: some of them, parts of stacked ones, and matrices that are stored the other way round.
/// The file stays whoever's it is that opened it, unless it is handed over.
/// </summary>
/// <param name="owned">Whether the file is closed with this.</param>
/// <param name="layout">Whose names the file has.</param>
internal sealed class MappedTensors(ModelTensors file, bool owned = false, VitLayout? layout = null) : ModelTensors
{
    private readonly OrderedDictionary<string, int[]> shapes = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Place> places = new(StringComparer.Ordinal);

    public override string Source => file.Source;

    public override IReadOnlyDictionary<string, string> Metadata => file.Metadata;

    public override IReadOnlyDictionary<string, int[]> Shapes => shapes;

    public override int? Heads => file.Heads;

    public override string? Note => file.Note;

    /// <inheritdoc/>
    public override VitLayout Layout => layout ?? file.Layout;

    /// <inheritdoc/>
    public override bool IsLeftOut(string name) =>
        places.TryGetValue(name, out Place place) && (place.Stored is not { } stored || file.IsLeftOut(stored));

    /// <summary>Adds a tensor of the file.</summary>
    /// <param name="transposed">Of a matrix: whether rows are stored where columns are wanted.</param>
    /// <exception cref="EspalierException">Another one has the name.</exception>
    public void Add(string name, string stored, bool transposed = false)
    {
        int[] shape = file.Shapes[stored];
        if (transposed && shape.Length != 2)
            throw new EspalierException($"{Source}: {stored} has shape [{string.Join(",", shape)}]; a matrix is expected");
        Add(name, transposed ? [shape[1], shape[0]] : shape, new Place(stored, 0, transposed));
    }

    /// <summary>Adds a tensor of the file under another shape of as many values.</summary>
    /// <exception cref="EspalierException">It has another number of values, or another one has the name.</exception>
    public void Add(string name, string stored, int[] shape)
    {
        if (ArrayShape.Count(shape) != ArrayShape.Count(file.Shapes[stored]))
            throw new EspalierException($"{Source}: {stored} has shape [{string.Join(",", file.Shapes[stored])}], which is not "
                + $"[{string.Join(",", shape)}]");
        Add(name, shape, new Place(stored));
    }

    /// <summary>Adds a tensor of zeros, which the file leaves out.</summary>
    public void AddZeros(string name, int[] shape) => Add(name, shape, new Place(null));

    /// <summary>Adds a matrix of the file, [rows, D] or [1, rows, D], as [1, rows + zeros, D].</summary>
    /// <param name="at">The row that the first one of zeros becomes.</param>
    public void AddWithZeros(string name, string stored, int at, int zeros)
    {
        int[] shape = file.Shapes[stored];
        Add(name, [1, shape[^2] + zeros, shape[^1]], new Place(stored, 0, false, at * shape[^1], zeros * shape[^1]));
    }

    /// <summary>Adds the parts of a tensor that is cut along its first axis.</summary>
    /// <exception cref="EspalierException">It does not divide.</exception>
    public void AddParts(string stored, params ReadOnlySpan<string> names)
    {
        int[] shape = file.Shapes[stored];
        if (shape.Length == 0 || shape[0] % names.Length != 0)
            throw new EspalierException($"{Source}: {stored} has shape [{string.Join(",", shape)}]; {names.Length} of a kind, "
                + "one behind the other, are expected");
        int[] part = [shape[0] / names.Length, .. shape[1..]];
        for (int i = 0; i < names.Length; i++) Add(names[i], part, new Place(stored, (int)(i * ArrayShape.Count(part))));
    }

    /// <inheritdoc/>
    public override void Read(string name, int start, Span<float> destination)
    {
        Place place = places[name];
        if (place.Stored is null) destination.Clear();
        else if (place.Zeros > 0)
        {
            float[] stored = file.Read(place.Stored);
            float[] all = [.. stored[..place.ZerosAt], .. new float[place.Zeros], .. stored[place.ZerosAt..]];
            all.AsSpan(start, destination.Length).CopyTo(destination);
        }
        else if (place.Transposed)
        {
            int rows = shapes[name][0], columns = shapes[name][1];
            float[] all = file.Read(place.Stored);
            for (int i = 0; i < destination.Length; i++)
                destination[i] = all[(start + i) % columns * rows + (start + i) / columns];
        }
        else file.Read(place.Stored, place.Start + start, destination);
    }

    public override void Dispose()
    {
        if (owned) file.Dispose();
    }

    private void Add(string name, int[] shape, Place place)
    {
        if (!shapes.TryAdd(name, shape)) throw new EspalierException($"{Source}: two arrays both stand for {name}");
        places.Add(name, place);
    }

    /// <summary>Where a tensor's values are: in which tensor of the file, from which one on; null for zeros only.</summary>
    /// <param name="Transposed">Of a matrix: whether rows are stored where columns are wanted.</param>
    /// <param name="ZerosAt">The value in front of which the file leaves some out that are zero.</param>
    /// <param name="Zeros">How many.</param>
    private readonly record struct Place(string? Stored, int Start = 0, bool Transposed = false, int ZerosAt = 0, int Zeros = 0);
}
