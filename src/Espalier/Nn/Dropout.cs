using Espalier.Tensors;

namespace Espalier.Nn;

/// <summary>
/// In training, zeroes each value with probability <see cref="Rate"/> and scales the others by 1/(1 - rate). Its random numbers
/// come from the source that <see cref="Seed"/> set last, so a step's masks depend on that step's seed only.
/// </summary>
public sealed class Dropout : Module
{
    private readonly RandomStream stream = new(0);

    public float Rate { get; private set; }

    public bool Active => Training && Rate > 0;

    public Tensor Forward(Tensor x) => F.Dropout(x, Rate, stream, Active);

    /// <summary>Sets the rate of all dropout layers of a model.</summary>
    public static void SetRate(Module model, float rate)
    {
        if (rate is < 0 or >= 1) throw new EspalierException($"a dropout rate must be 0 or more and less than 1, not {rate}");
        foreach (Dropout layer in model.Descendants<Dropout>()) layer.Rate = rate;
    }

    /// <summary>Gives every dropout layer of a model its own stream, drawn from <paramref name="source"/>.</summary>
    public static void Seed(Module model, ref Rng source)
    {
        foreach (Dropout layer in model.Descendants<Dropout>()) layer.stream.Restart(source.NextULong());
    }
}
