namespace Espalier.Peers;

/// <summary>Something that is measured, and the rows that come of it.</summary>
/// <param name="Section">Heading of the table that its rows are in.</param>
/// <param name="Name">What --rows looks at, with the section.</param>
/// <param name="Quick">Whether a quick run has it.</param>
internal sealed record Trial(string Section, string Name, Func<Bench, IEnumerable<RowResult>> Run, bool Quick = true);

/// <summary>All trials, in the order of the page.</summary>
internal static class AllTrials
{
    public static IEnumerable<Trial> Get() =>
    [
        .. AgreementTrials.All(),
        .. DenseTrials.All(),
        .. AptTrials.All(),
        .. LowPrecisionTrials.All(),
        .. Avx2Trials.All(),
        .. ClipTrials.All(),
        .. CnnTrials.All(),
        .. QuantisedTrials.All(),
        .. ResourceTrials.All(),
        .. TrainingTrials.All(),
        .. AptTrainingTrials.All(),
    ];
}
