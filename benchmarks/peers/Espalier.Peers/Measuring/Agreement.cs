namespace Espalier.Peers;

/// <summary>How far two answers are apart.</summary>
internal static class Agreement
{
    /// <summary>The largest difference over the largest value of the reference; infinite where one side has no numbers.</summary>
    public static double Relative(float[] ours, float[] reference)
    {
        if (ours.Length != reference.Length) return double.PositiveInfinity;
        double difference = 0, largest = 0;
        for (int i = 0; i < ours.Length; i++)
        {
            if (!float.IsFinite(ours[i]) || !float.IsFinite(reference[i])) return double.PositiveInfinity;
            difference = Math.Max(difference, Math.Abs((double)ours[i] - reference[i]));
            largest = Math.Max(largest, Math.Abs(reference[i]));
        }
        return difference / largest;
    }
}
