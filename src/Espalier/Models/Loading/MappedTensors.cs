using Espalier.Formats;

namespace Espalier.Models;

/// <summary>
/// Tensors of a file under other names: some of them, parts of stacked ones, and matrices that are stored the other way round.
/// The file stays whoever's it is that opened it, unless it is handed over.
/// </summary>
/// <param name="owned">Whether the file is closed with this.</param>
internal sealed class MappedTensors(ModelTensors file, bool owned = false) : ModelTensors
{
    private readonly OrderedDictionary<string, int[]> shapes = new(StringComparer.Ordinal);
    private readonly Dictionary<string, (string Stored, int Start, bool Transposed)> places = new(StringComparer.Ordinal);

    public override string Source => file.Source;

    public override IReadOnlyDictionary<string, string> Metadata => file.Metadata;

    public override IReadOnlyDictionary<string, int[]> Shapes => shapes;

    public override int? Heads => file.Heads;

    /// <summary>Adds a tensor of the file.</summary>
    /// <param name="transposed">Of a matrix: whether rows are stored where columns are wanted.</param>
    /// <exception cref="EspalierException">Another one has the name.</exception>
    public void Add(string name, string stored, bool transposed = false)
    {
        int[] shape = file.Shapes[stored];
        if (transposed && shape.Length != 2)
            throw new EspalierException($"{Source}: {stored} has shape [{string.Join(",", shape)}]; a matrix is expected");
        Add(name, transposed ? [shape[1], shape[0]] : shape, (stored, 0, transposed));
    }

    /// <summary>Adds a tensor of the file under another shape of as many values.</summary>
    /// <exception cref="EspalierException">It has another number of values, or another one has the name.</exception>
    public void Add(string name, string stored, int[] shape)
    {
        if (ArrayShape.Count(shape) != ArrayShape.Count(file.Shapes[stored]))
            throw new EspalierException($"{Source}: {stored} has shape [{string.Join(",", file.Shapes[stored])}], which is not "
                + $"[{string.Join(",", shape)}]");
        Add(name, shape, (stored, 0, false));
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
        for (int i = 0; i < names.Length; i++) Add(names[i], part, (stored, (int)(i * ArrayShape.Count(part)), false));
    }

    /// <inheritdoc/>
    public override void Read(string name, int start, Span<float> destination)
    {
        var (stored, first, transposed) = places[name];
        if (!transposed)
        {
            file.Read(stored, first + start, destination);
            return;
        }
        int rows = shapes[name][0], columns = shapes[name][1];
        float[] all = file.Read(stored);
        for (int i = 0; i < destination.Length; i++)
            destination[i] = all[(start + i) % columns * rows + (start + i) / columns];
    }

    public override void Dispose()
    {
        if (owned) file.Dispose();
    }

    private void Add(string name, int[] shape, (string, int, bool) place)
    {
        if (!shapes.TryAdd(name, shape)) throw new EspalierException($"{Source}: two arrays both stand for {name}");
        places.Add(name, place);
    }
}
