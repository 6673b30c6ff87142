using System.Globalization;

namespace Espalier.Compression;

/// <summary>
/// Shares of channels to remove, by layer: that of the first pattern that fits the layer's name; a layer that none fits keeps its
/// channels. A number is the share of every layer: <c>Ratio = 0.3</c>.
/// </summary>
public sealed class LayerRatios
{
    private const string Any = "*";

    private readonly (string Pattern, double Share)[] rules;

    /// <param name="rules">Name patterns with * and ?, and a share in [0, 1) each.</param>
    public LayerRatios(params IReadOnlyList<(string Pattern, double Share)> rules) => this.rules = [.. rules];

    /// <summary>The share of all layers; null where they differ.</summary>
    public double? OfAll => rules is [(Any, var share)] ? share : null;

    /// <summary>One share for all layers.</summary>
    public static implicit operator LayerRatios?(double? share) => share is { } s ? new LayerRatios((Any, s)) : null;

    /// <summary>From a number, or <c>layer1*=0.2,*=0.5</c>.</summary>
    /// <exception cref="EspalierException">It is neither.</exception>
    public static LayerRatios Parse(string text)
    {
        if (Share(text) is { } all) return new LayerRatios((Any, all));
        return new LayerRatios([.. text.Split(',').Select(part =>
        {
            int equals = part.LastIndexOf('=');
            return equals > 0 && Share(part[(equals + 1)..]) is { } share ? (part[..equals], share)
                : throw new EspalierException($"'{part}' is no share of channels; say a number, or PATTERN=SHARE,PATTERN=SHARE");
        })]);

        static double? Share(string text) =>
            double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double share) ? share : null;
    }

    /// <summary>The text that <see cref="Parse"/> reads.</summary>
    public override string ToString() => OfAll is { } all ? all.ToString(CultureInfo.InvariantCulture)
        : string.Join(',', rules.Select(r => string.Create(CultureInfo.InvariantCulture, $"{r.Pattern}={r.Share}")));

    /// <summary>The share of a group's channels to remove.</summary>
    internal double Of(ChannelGroup group) => rules.FirstOrDefault(r => SelectionOptions.Matches(group, r.Pattern)).Share;

    /// <summary>The same layers with other shares.</summary>
    internal LayerRatios Map(Func<double, double> share) => new([.. rules.Select(r => (r.Pattern, share(r.Share)))]);

    /// <exception cref="EspalierException">A share is out of its range, or nothing would go.</exception>
    internal void CheckShares()
    {
        if (OfAll is { } all and not (> 0 and < 1))
            throw new EspalierException($"the ratio is {all}; it is the share of channels to remove, above 0 and below 1");
        foreach (var (pattern, share) in rules.Where(r => r.Share is not (>= 0 and < 1)))
            throw new EspalierException($"the ratio of '{pattern}' is {share}; it is from 0 to below 1");
        if (rules.All(r => r.Share == 0)) throw new EspalierException("every ratio is 0, so nothing would go");
    }

    /// <exception cref="EspalierException">A pattern says the share of no layer.</exception>
    internal void CheckPatterns(IReadOnlyList<ChannelGroup> groups)
    {
        for (int i = 0; i < rules.Length; i++)
        {
            string pattern = rules[i].Pattern;
            ChannelGroup[] fits = [.. groups.Where(g => SelectionOptions.Matches(g, pattern))];
            if (fits.Length == 0) throw SelectionOptions.NoLayer(groups, pattern);
            if (fits.All(g => rules.Take(i).Any(r => SelectionOptions.Matches(g, r.Pattern))))
                throw new EspalierException($"the ratio of '{pattern}' is never used, as patterns before it fit all of its "
                    + "layers; put it before them, or leave it out");
        }
    }
}
