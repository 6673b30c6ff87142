namespace Espalier.Server;

/// <summary>What a request for features says beside the images or texts in its body.</summary>
/// <param name="Truncate">Whether texts of more tokens than the tower reads are cut, and not refused.</param>
internal sealed record EmbedQuestion(ServedModel Model, bool Truncate)
{
    private static readonly string[] Names = ["model", "truncate"];

    /// <exception cref="Refusal">A parameter is unknown, given twice, or has no such value.</exception>
    public static EmbedQuestion Of(IQueryCollection query, IReadOnlyList<ServedModel> models)
    {
        var said = new Parameters(query, Names);
        return new EmbedQuestion(said.Model(models), said.Flag("truncate") ?? false);
    }
}
