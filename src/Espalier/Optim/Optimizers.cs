namespace Espalier.Optim;

/// <summary>Optimisers by the names that the command line uses.</summary>
public static class Optimizers
{
    /// <summary>The names that <see cref="Create"/> knows.</summary>
    public static IReadOnlyList<string> Names { get; } = ["sgd", "nesterov", "adam", "adamw", "radam", "ranger", "lookahead"];

    /// <summary>The rate that suits most runs: 0.03 for plain gradient descent, 0.001 where steps are scaled.</summary>
    public static float DefaultLearningRate(string name) => name is "sgd" or "nesterov" or "lookahead" ? 0.03f : 1e-3f;

    /// <param name="momentum">For "sgd", "nesterov" and "lookahead", which is around "sgd".</param>
    /// <exception cref="EspalierException">There is no optimiser of that name.</exception>
    public static Optimizer Create(string name, IReadOnlyList<ParameterGroup> groups, float momentum = 0.9f,
        float weightDecay = 0) => name switch
        {
            "sgd" => new Sgd(groups, momentum, weightDecay),
            "nesterov" => new Sgd(groups, momentum, weightDecay, nesterov: true),
            "adam" => new Adam(groups, weightDecay: weightDecay),
            "adamw" => new AdamW(groups, weightDecay: weightDecay),
            "radam" => new RAdam(groups, weightDecay: weightDecay),
            "ranger" => Ranger.Create(groups, weightDecay),
            "lookahead" => new Lookahead(new Sgd(groups, momentum, weightDecay)),
            _ => throw new EspalierException($"'{name}' is not an optimiser; choose one of {string.Join(", ", Names)}."),
        };
}
