using Espalier.Nn;

namespace Espalier.Models;

/// <summary>
/// Residual blocks whose branch lost channels that the stream keeps: a file's tensors tell which, and blocks without such tensors
/// are as published.
/// </summary>
internal static class StoredScatters
{
    /// <summary>Gives the blocks of a freshly built network the lists that the file has for them.</summary>
    public static void Add(Module net, ModelTensors file, string prefix = "")
    {
        foreach (var (name, child) in net.Children)
        {
            string path = name.Length == 0 ? prefix : $"{prefix}{name}.";
            if (child is ResidualBlock { HasShortcut: true, IsRemoved: false } block
                && file.Shapes.TryGetValue($"{path}scatter.shift", out int[]? shape) && shape.Length == 1)
            {
                block.AddScatter(shape[0]);
            }
            Add(child, file, path);
        }
    }
}
