namespace Espalier.Peers;

internal enum Verdict
{
    Pass,
    FallsShort,

    /// <summary>Nothing to reach: for information.</summary>
    NoBar,
    NotAvailable,
}

/// <summary>One row of the table.</summary>
/// <param name="Ours">What Espalier reached, with its unit.</param>
/// <param name="Theirs">What it is held against.</param>
/// <param name="Figure">What decides.</param>
/// <param name="Aim">What it should be.</param>
internal sealed record RowResult(
    string Section, string Name, string Ours, string Theirs, string Figure, string Aim, Verdict Verdict)
{
    /// <summary>What reasons.json calls it.</summary>
    public string Key => $"{Section}: {Name}";

    public static Verdict Decide(bool passes) => passes ? Verdict.Pass : Verdict.FallsShort;

    public static RowResult NotAvailable(string section, string name, string why) =>
        new(section, name, "", "", why, "", Verdict.NotAvailable);
}
