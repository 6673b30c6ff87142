namespace Espalier.Compression;

/// <summary>One choice of channels: what each was worth, and which were to go.</summary>
public sealed record SelectionRecord(IReadOnlyList<ScoredGroup> Groups);

/// <param name="Name">Of the <see cref="ChannelGroup"/>.</param>
/// <param name="Scores">One a channel; the least important have the smallest.</param>
/// <param name="Removed">Numbers of the channels that were chosen to go, rising.</param>
public sealed record ScoredGroup(string Name, IReadOnlyList<float> Scores, IReadOnlyList<int> Removed);

/// <summary>One training of a run.</summary>
/// <param name="Losses">Means over ten steps at a time, at the last of them.</param>
/// <param name="Accuracy">On the evaluation images, at its end; null where it was not measured.</param>
public sealed record StageRecord(string Name, long Steps, IReadOnlyList<LossPoint> Losses, double? Accuracy);

/// <param name="Step">From 1, within its stage.</param>
public readonly record struct LossPoint(long Step, double Loss);
