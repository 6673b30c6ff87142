namespace Espalier.Compression;

/// <summary>However many channels go, a network needs more than was asked for: narrower layers, more layers or less to ask for are what
/// helps.</summary>
public sealed class OutOfReachException(string message) : EspalierException(message);
