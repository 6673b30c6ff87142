namespace Espalier.Tensors.Kernels;

/// <summary>The limit that divides the highest scores from the others.</summary>
internal static unsafe class HighestScores
{
    /// <summary>The <paramref name="count"/>-th highest score, and how many of those equal to it are among the highest. What is
    /// no number counts as the highest.</summary>
    /// <param name="score">Scores, <paramref name="stride"/> floats apart.</param>
    public static (float Limit, int Ties) Of(float* score, nint stride, int length, int count)
    {
        if (count == 0) return (float.PositiveInfinity, 0);
        var found = new Span<float>(Scratch.Rent(length), length);
        for (int i = 0; i < length; i++)
        {
            float s = score[i * stride];
            found[i] = float.IsNaN(s) ? float.NegativeInfinity : -s;
        }
        float limit = Lowest(found, count - 1);
        int ties = count;
        foreach (float s in found) ties -= s < limit ? 1 : 0;
        return (-limit, ties);
    }

    /// <summary>The value that would be at place <paramref name="k"/> if all were in order, which takes less time than to order
    /// all: Hoare's FIND.</summary>
    private static float Lowest(Span<float> values, int k)
    {
        int left = 0, right = values.Length - 1;
        while (left < right)
        {
            float pivot = values[k];
            int i = left, j = right;
            while (i <= j)
            {
                while (values[i] < pivot) i++;
                while (pivot < values[j]) j--;
                if (i > j) break;
                (values[i], values[j]) = (values[j--], values[i++]);
            }
            if (j < k) left = i;
            if (k < i) right = j;
        }
        return values[k];
    }
}
