namespace Espalier.Optim;

/// <summary>Optimisers by the names that the command line uses.</summary>
public static class Optimizers
{
    /// <summary>The names that <see cref="Create"/> knows.</summary>
    public static IReadOnlyList<string> Names { get; } = ["sgd", "nesterov", "adam", "adamw"];

    /// <param name="momentum">For "sgd" and "nesterov" only.</param>
    /// <exception cref="EspalierException">There is no optimiser of that name.</exception>
    public static Optimizer Create(string name, IReadOnlyList<ParameterGroup> groups, float momentum = 0.9f,
        float weightDecay = 0) => name switch
        {
            "sgd" => new Sgd(groups, momentum, weightDecay),
            "nesterov" => new Sgd(groups, momentum, weightDecay, nesterov: true),
            "adam" => new Adam(groups, weightDecay: weightDecay),
            "adamw" => new AdamW(groups, weightDecay: weightDecay),
            _ => throw new EspalierException($"'{name}' is not an optimiser; choose one of {string.Join(", ", Names)}."),
        };
}
