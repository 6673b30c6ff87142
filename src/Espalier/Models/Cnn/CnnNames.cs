using Espalier.Nn;

namespace Espalier.Models;

/// <summary>Which networks have tensors of the names and shapes of a file, to be suggested where nobody said which it is of.</summary>
internal static class CnnNames
{
    private const int MostSuggested = 3, MostOdd = 3;

    /// <summary>Names and shapes tell much and not all, such as strides, so that they are a suggestion and never a choice.</summary>
    /// <param name="shapes">Of the file.</param>
    /// <returns>" (its tensors are those of 'x')", or nothing where there is no such network.</returns>
    public static string Hint(IReadOnlyDictionary<string, int[]> shapes)
    {
        var fitting = new List<string>();
        using InitSkip _ = Init.ShapesOnly();
        foreach (string name in CnnPresets.Names)
        {
            using Cnn net = CnnPresets.Create(CnnPresets.Get(name));
            // Other classes and other colours change the first and the last layer alone.
            int odd = 0;
            bool fits = net.StateDict().All(t => shapes.TryGetValue(t.Name, out int[]? stored)
                && (t.Value.Shape.ToArray().SequenceEqual(stored) || (stored.Length == t.Value.Rank && ++odd <= MostOdd)));
            if (fits) fitting.Add(name);
        }
        return fitting.Count == 0 ? "" : $" (its tensors are those of {string.Join(" or ", fitting.Take(MostSuggested))})";
    }
}
