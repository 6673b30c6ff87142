namespace Espalier;

/// <summary>Finds the name that somebody probably meant.</summary>
internal static class Near
{
    /// <summary>
    /// " (do you mean 'x'?)" with the known name that a wrong one is nearest to; nothing where none is near. Case, dashes
    /// and underscores do not count.
    /// </summary>
    public static string Hint(string given, IEnumerable<string> known)
    {
        string plain = Plain(given);
        var best = known.Select(name => (Name: name, Distance: Distance(plain, Plain(name)))).OrderBy(n => n.Distance)
            .FirstOrDefault();
        return best.Name is not null && best.Distance <= Math.Max(1, plain.Length / 3) ? $" (do you mean '{best.Name}'?)" : "";
    }

    private static string Plain(string name) =>
        new([.. name.Where(c => c is not ('-' or '_')).Select(char.ToLowerInvariant)]);

    /// <summary>Damerau's and Levenshtein's: letters to insert, delete, replace, or exchange with the next.</summary>
    private static int Distance(string a, string b)
    {
        int[,] d = new int[a.Length + 1, b.Length + 1];
        for (int i = 0; i <= a.Length; i++)
            for (int j = 0; j <= b.Length; j++)
            {
                if (i == 0 || j == 0)
                {
                    d[i, j] = i + j;
                    continue;
                }
                int replaced = d[i - 1, j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
                d[i, j] = Math.Min(replaced, 1 + Math.Min(d[i - 1, j], d[i, j - 1]));
                bool exchanged = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if (exchanged) d[i, j] = Math.Min(d[i, j], d[i - 2, j - 2] + 1);
            }
        return d[a.Length, b.Length];
    }
}
