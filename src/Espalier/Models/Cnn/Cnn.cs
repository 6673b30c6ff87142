using System.Globalization;

namespace Espalier.Models;

/// <summary>A convolutional network of one of the <see cref="CnnPresets"/>, whole or with channels or blocks removed.</summary>
public abstract class Cnn(CnnConfig config) : ImageClassifier
{
    /// <summary>The shape that it was built with and the blocks it lost; removed channels show in the weights only.</summary>
    public CnnConfig Config { get; private set; } = config;

    /// <inheritdoc/>
    public override string Description =>
        Config.Width == 1 ? Config.Network : string.Create(CultureInfo.InvariantCulture, $"{Config.Network} x {Config.Width}");

    /// <inheritdoc/>
    public override int Channels => Config.Channels;

    /// <inheritdoc/>
    public override int ImageSize => Config.ImageSize;

    /// <inheritdoc/>
    public override int NumClasses => Config.NumClasses;

    /// <summary>All residual blocks in the order of the forward pass, under the names of their parameters.</summary>
    public IEnumerable<(string Name, ResidualBlock Block)> ResidualBlocks() => NamedDescendants<ResidualBlock>();

    /// <summary>
    /// Takes residual blocks out for good: what enters them leaves them unchanged. Parameters of the others stay as they are.
    /// </summary>
    /// <exception cref="EspalierException">
    /// There is no such block, its shortcut is no identity, or it was removed before; the network is as it was.
    /// </exception>
    /// <param name="source">Of the names, for messages; null for the network.</param>
    internal void RemoveBlocks(IEnumerable<string> names, string? source = null)
    {
        source ??= Config.Network;
        Dictionary<string, ResidualBlock> blocks = ResidualBlocks().ToDictionary(b => b.Name, b => b.Block);
        var removed = new HashSet<ResidualBlock>();
        foreach (string? name in names)
        {
            string text = (name ?? "null").ReplaceLineEndings(" ");
            if (name is null || !blocks.TryGetValue(name, out ResidualBlock? block))
                throw new EspalierException($"{source}: {Config.Network} has no residual block '{text}' to remove");
            if (!block.HasIdentityShortcut)
                throw new EspalierException($"{source}: block '{text}' cannot be removed: its shortcut is not an identity");
            if (block.IsRemoved || !removed.Add(block))
                throw new EspalierException($"{source}: block '{text}' is removed twice");
        }
        if (removed.Count == 0) return;
        foreach (ResidualBlock block in removed) block.Remove();
        Config = Config with { Removed = [.. ResidualBlocks().Where(b => b.Block.IsRemoved).Select(b => b.Name)] };
    }
}
