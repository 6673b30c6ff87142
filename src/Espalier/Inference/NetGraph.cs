namespace Espalier.Inference;

/// <summary>A network's layers in an order in which they can run.</summary>
internal sealed class NetGraph(Map input, Map[] outputs, List<Layer> layers)
{
    public Map Input { get; } = input;

    public IReadOnlyList<Map> Outputs { get; private set; } = outputs;

    public List<Layer> Layers { get; } = layers;

    /// <summary>Everybody who reads these maps reads others of the same shape from now on.</summary>
    public void Replace(Map old, Map with)
    {
        foreach (Layer layer in Layers)
        {
            if (Array.IndexOf(layer.Inputs, old) < 0) continue;
            layer.Inputs = Array.ConvertAll(layer.Inputs, m => m == old ? with : m);
        }
        ReplaceOutput(old, with);
    }

    /// <summary>The same of the network's outputs alone.</summary>
    public void ReplaceOutput(Map old, Map with)
    {
        if (Outputs.Contains(old)) Outputs = [.. Outputs.Select(o => o == old ? with : o)];
    }

    /// <summary>Drops layers that nobody reads, and notes for all maps who makes and reads them.</summary>
    public void Rewire()
    {
        var needed = new HashSet<Map>(Outputs);
        for (int i = Layers.Count - 1; i >= 0; i--)
        {
            if (needed.Contains(Layers[i].Output)) needed.UnionWith(Layers[i].Inputs);
            else Layers.RemoveAt(i);
        }
        foreach (Map map in needed)
        {
            map.Producer = null;
            map.Readers.Clear();
        }
        foreach (Layer layer in Layers)
        {
            layer.Output.Producer = layer;
            foreach (Map map in layer.Inputs) map.Readers.Add(layer);
        }
    }

    /// <summary>The layer that makes these maps, where it is of that kind and nobody else reads them.</summary>
    public T? Before<T>(Map map) where T : Layer =>
        map.Producer is T layer && map.Readers.Count == 1 && !Outputs.Contains(map) ? layer : null;
}
