using Espalier.Tensors.Kernels;

namespace Espalier.Tensors;

/// <summary>Which numbers from 0 to 1 codes stand for.</summary>
public enum ProbabilityCoding
{
    /// <summary>Steps of one size.</summary>
    Uniform,

    /// <summary>Half of the codes for those up to a split, half for all (PTQ4ViT, Yuan et al., arXiv 2111.12293).</summary>
    Twin,

    /// <summary>Powers of two, and 0, which has the last code, for what is below them (FQ-ViT, Lin et al., arXiv 2111.13824).</summary>
    Log2,

    /// <summary>Powers of the root of two, likewise (RepQ-ViT, Li et al., arXiv 2212.08254).</summary>
    LogSqrt2,
}

/// <summary>How probabilities of attention are stored in few bits.</summary>
public sealed record ProbabilityCodes
{
    /// <summary>The last split that a twin range may have: 2^-15.</summary>
    public const int MostSplit = 15;

    /// <param name="bits">2 to 8.</param>
    /// <param name="split">Of <see cref="ProbabilityCoding.Twin"/>: small ones are those up to 2^-split, 0 to 15; else 0.</param>
    /// <exception cref="ArgumentException">A number is out of its range.</exception>
    public ProbabilityCodes(ProbabilityCoding coding, int bits, int split = 0)
    {
        if (bits is < 2 or > 8) throw new ArgumentException($"probabilities are of 2 to 8 bits, not of {bits}");
        if (split < 0 || split > MostSplit || (split > 0 && coding != ProbabilityCoding.Twin))
            throw new ArgumentException($"a split of 2^-{split} for {coding} codes of probabilities");
        (Coding, Bits, Split) = (coding, bits, split);
    }

    public ProbabilityCoding Coding { get; }

    public int Bits { get; }

    public int Split { get; }

    /// <summary>The largest code of a range: 2^bits - 1, of each of two 2^(bits - 1) - 1.</summary>
    public int Largest => (1 << (Coding == ProbabilityCoding.Twin ? Bits - 1 : Bits)) - 1;

    /// <summary>The number that a probability's code stands for.</summary>
    public float Rounded(float probability) => Range.Run<Scalar, float>(probability);

    internal ProbabilityRange Range => new(Coding, Largest, MathF.ScaleB(1, -Split));

    internal void Save(OpSettings settings)
    {
        settings.Set("probabilities", Coding).Set("probabilityBits", Bits);
        if (Split > 0) settings.Set("probabilitySplit", Split);
    }

    /// <summary>Null where there are none.</summary>
    internal static ProbabilityCodes? Read(OpSettings settings) => !settings.Has("probabilities") ? null
        : new ProbabilityCodes(settings.Word<ProbabilityCoding>("probabilities"), settings.Int("probabilityBits"),
            settings.Has("probabilitySplit") ? settings.Int("probabilitySplit") : 0);

    public override string ToString() => $"{Coding} codes of {Bits} bits" + (Split > 0 ? $", split at 2^-{Split}" : "");
}
