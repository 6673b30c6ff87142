namespace Espalier.Tensors.Kernels;

/// <summary>How many items are worth a thread, where an item is a plane or a row that is read once or twice.</summary>
internal static class Grain
{
    // About five microseconds of work at memory speed: several times what waking a worker costs.
    private const long FloatsPerThread = 16 * 1024;

    public static int For(long floatsPerItem) => (int)(FloatsPerThread / Math.Max(1, floatsPerItem)) + 1;
}
