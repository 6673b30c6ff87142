using Espalier.Imaging;
using Microsoft.Extensions.AI;

namespace Espalier.Clip;

/// <summary>Texts as vectors of length 1, for whatever takes a generator of Microsoft.Extensions.AI: a vector store, a cache, a
/// pipeline. Texts that are too long are cut. The model stays its owner's.</summary>
public sealed class ClipTextEmbeddings(ClipModel model) : IEmbeddingGenerator<string, Embedding<float>>
{
    /// <inheritdoc/>
    /// <exception cref="EspalierException">See <see cref="ClipModel.EncodeText(IReadOnlyList{string})"/>.</exception>
    public Task<GeneratedEmbeddings<Embedding<float>>> GenerateAsync(
        IEnumerable<string> values, EmbeddingGenerationOptions? options = null, CancellationToken cancellationToken = default)
    {
        string[] texts = [.. values];
        return ClipGenerator.Run(model, options, () => model.EncodeText(texts, truncate: true), cancellationToken);
    }

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null) =>
        ClipGenerator.Service(this, model, serviceType, serviceKey);

    public void Dispose()
    {
    }
}

/// <summary>The same for pictures: <see cref="DataContent"/> with the bytes of a PNG, JPEG, BMP, GIF or WebP file.</summary>
public sealed class ClipImageEmbeddings(ClipModel model) : IEmbeddingGenerator<DataContent, Embedding<float>>
{
    /// <inheritdoc/>
    /// <exception cref="EspalierException">One of them is no picture that is read.</exception>
    public Task<GeneratedEmbeddings<Embedding<float>>> GenerateAsync(
        IEnumerable<DataContent> values, EmbeddingGenerationOptions? options = null,
            CancellationToken cancellationToken = default)
    {
        Image[] images = [.. values.Select((v, i) => ImageFile.Decode(v.Data.ToArray(), v.Name ?? $"picture {i}"))];
        return ClipGenerator.Run(model, options, () => model.EncodeImage(images), cancellationToken);
    }

    /// <inheritdoc/>
    public object? GetService(Type serviceType, object? serviceKey = null) =>
        ClipGenerator.Service(this, model, serviceType, serviceKey);

    public void Dispose()
    {
    }
}

/// <summary>What both generators have in common.</summary>
internal static class ClipGenerator
{
    public static Task<GeneratedEmbeddings<Embedding<float>>> Run(
        ClipModel model, EmbeddingGenerationOptions? options, Func<float[][]> encode, CancellationToken cancel)
    {
        if (options?.Dimensions is { } wanted && wanted != model.Embedding)
            throw new ArgumentException($"{wanted} dimensions are asked for, and the model gives {model.Embedding}",
                nameof(options));
        return Task.Run(() => new GeneratedEmbeddings<Embedding<float>>(
            encode().Select(v => new Embedding<float>(ClipModel.Normalised(v)) { ModelId = model.Description })), cancel);
    }

    public static object? Service(object generator, ClipModel model, Type type, object? key) => key is not null ? null
        : type.IsInstanceOfType(generator) ? generator
        : type.IsInstanceOfType(model) ? model
        : type == typeof(EmbeddingGeneratorMetadata) ? new EmbeddingGeneratorMetadata("espalier", null, model.Description,
            model.Embedding)
        : null;
}
