using System.Text.Json.Serialization;

namespace Espalier.Server;

internal sealed record ClassShare(int Class, string Name, float Probability);

/// <param name="Classes">The most probable first.</param>
/// <param name="Tokens">Tokens that entered block 0, then those left after each agent; empty of a network without.</param>
/// <param name="Kept">Which those are, for each agent.</param>
/// <param name="Milliseconds">The computation that it was in, by the number of images in that.</param>
/// <param name="Batch">That number.</param>
/// <param name="Picture">What the network saw, as a data URL, where that was asked for.</param>
internal sealed record PictureAnswer(IReadOnlyList<ClassShare> Classes, int[] Tokens, int[][] Kept, long MultiplyAdds,
    double Milliseconds, int Batch, string? Picture);

/// <param name="Pruning">What decided on the tokens, in words.</param>
internal sealed record PredictAnswer(string Model, string Pruning, IReadOnlyList<PictureAnswer> Results);

internal sealed record EmbedRequest(IReadOnlyList<string> Texts);

internal sealed record EmbedAnswer(string Model, IReadOnlyList<float[]> Embeddings);

/// <param name="Classes">0 of a network that gives features.</param>
/// <param name="Threshold">Of all agents, where they have one.</param>
/// <param name="KeepShare">The share that all agents keep, where that is their rule.</param>
internal sealed record ModelInfo(string Name, string Description, int Classes, int ImageSize, long Parameters,
    double MultiplyAdds, IReadOnlyList<int> AgentLayers, int TokenGrid, int PrefixTokens, string Pruning, float? Threshold,
    double? KeepShare, bool Texts);

internal sealed record Health(string Status, IReadOnlyList<string> Models);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow)]
[JsonSerializable(typeof(Problem))]
[JsonSerializable(typeof(PredictAnswer))]
[JsonSerializable(typeof(EmbedRequest))]
[JsonSerializable(typeof(EmbedAnswer))]
[JsonSerializable(typeof(IReadOnlyList<ModelInfo>))]
[JsonSerializable(typeof(Health))]
internal sealed partial class AnswerJson : JsonSerializerContext;
