namespace Espalier.Training;

/// <summary>Means of named numbers; a name that is not in every part is averaged over those that have it.</summary>
internal sealed class ScalarMeans
{
    private readonly OrderedDictionary<string, (double Sum, long Count)> sums = [];

    public void Add(IEnumerable<KeyValuePair<string, double>> values)
    {
        foreach (var (name, value) in values) Add(name, value);
    }

    public void Add(string name, double value)
    {
        var (sum, count) = sums.GetValueOrDefault(name);
        sums[name] = (sum + value, count + 1);
    }

    public Dictionary<string, double> Means() => sums.ToDictionary(s => s.Key, s => s.Value.Sum / s.Value.Count);

    public void Clear() => sums.Clear();

    public void Save(StateWriter state)
    {
        foreach (var (name, (sum, count)) in sums) state.Add(name, sum, (double)count);
    }

    public void Load(StateReader state)
    {
        sums.Clear();
        foreach (string name in state.Names)
            if (state.ReadDoubles(name) is [double sum, double count]) sums[name] = (sum, (long)count);
    }
}
