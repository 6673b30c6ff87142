namespace Espalier.Tensors;

/// <summary>The channel numbers that <see cref="IndexSelectOp"/> and <see cref="IndexAddOp"/> take as a tensor.</summary>
internal static class ChannelList
{
    /// <param name="index">[K], different whole numbers below <paramref name="channels"/>.</param>
    /// <returns>For each channel its place in the list, or -1.</returns>
    public static int[] Places(Tensor index, int channels, string op)
    {
        if (index.Rank != 1) throw new ArgumentException($"{op}: the list of channels {index.Shape} must be [K]");
        int[] places = new int[channels];
        Array.Fill(places, -1);
        for (int k = 0; k < index.Shape[0]; k++)
        {
            float channel = index.Span[k];
            if (!(channel >= 0 && channel < channels) || channel != (int)channel || places[(int)channel] >= 0)
                throw new ArgumentException(
                    $"{op}: the list of channels must name different ones of 0 to {channels - 1}, not {channel}");
            places[(int)channel] = k;
        }
        return places;
    }

    /// <summary>All channels, in their order.</summary>
    public static void Fill(Tensor index)
    {
        for (int c = 0; c < index.Length; c++) index.Span[c] = c;
    }

    /// <summary>Whether the list is of all channels in their order.</summary>
    public static bool IsAll(Tensor index, int channels) =>
        index.Length == channels && !index.Span.ToArray().Where((channel, k) => channel != k).Any();

    /// <summary>Values of one channel of one image in x [N, C, ..].</summary>
    public static int Plane(Shape shape) => (int)(shape.Length / Math.Max(1, (long)shape[0] * shape[1]));
}
