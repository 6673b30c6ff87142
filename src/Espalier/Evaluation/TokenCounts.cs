namespace Espalier.Evaluation;

/// <summary>Tokens of every image, stage by stage: those that enter, then those left after each agent.</summary>
public sealed class TokenCounts(int stages)
{
    private readonly List<int>[] counts = [.. Enumerable.Range(0, stages).Select(_ => new List<int>())];

    public int Stages => counts.Length;

    public void Add(ImageResult image)
    {
        for (int i = 0; i < counts.Length; i++) counts[i].Add(image.Tokens[i]);
    }

    public int[] Of(int stage) => [.. counts[stage]];

    public double Mean(int stage) => counts[stage].Count == 0 ? 0 : counts[stage].Average();

    public int Least(int stage) => counts[stage].Count == 0 ? 0 : counts[stage].Min();

    public int Most(int stage) => counts[stage].Count == 0 ? 0 : counts[stage].Max();
}
