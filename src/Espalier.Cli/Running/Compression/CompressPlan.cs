using System.Globalization;
using Espalier.Compression;
using Espalier.Imaging;
using Espalier.Models;
using Espalier.Training;

namespace Espalier.Cli.Running;

/// <summary>What `compress` was asked to do.</summary>
internal sealed record CompressPlan
{
    /// <summary>Names the network as it was, as its own teacher.</summary>
    private const string SelfTeacher = "self";

    /// <summary>With all of its options, but for the teacher of its training.</summary>
    public required CompressionMethod Method { get; init; }

    public required CompressSource Source { get; init; }

    /// <summary>Of all training; its teacher may be the network itself, before the method begins.</summary>
    public required Recipe Recipe { get; init; }

    /// <summary>Steps of ordinary training before the method begins.</summary>
    public long PretrainSteps { get; init; }

    /// <summary>Where the smaller network goes; null to write none.</summary>
    public string? Output { get; init; }

    /// <summary>Where the last selection goes, as JSON.</summary>
    public string? PlanFile { get; init; }

    /// <summary>Where the report goes; null for none.</summary>
    public ReportFile? Report { get; init; }

    /// <summary>Only say what would go.</summary>
    public bool PlanOnly { get; init; }

    /// <summary>Whether there is nothing to do without images.</summary>
    public bool NeedsImages => Method.NeedsImages || Method.Recover is not null || Recipe.Teacher is not null
        || PretrainSteps + Method.TrainSteps + Method.FineTuneSteps > 0;

    public bool TeachesItself => Recipe.Teacher == SelfTeacher;

    /// <summary>How any training of the run is taught. A stage goes on from a state only of the same run, whatever stages went
    /// before.</summary>
    public ClassifierTaskOptions Task(Teacher? teacher, Preprocessing preprocessing) => Recipe.Task(teacher) with
    {
        Identity =
        [
            ("Method", string.Join(' ', Method.Settings.Where(s => s.Of(Method) != s.Usual).OrderBy(s => s.Name)
                .Select(s => $"{s.Name}={s.Of(Method)}").Prepend(Method.Name))),
            ("Network", string.Create(CultureInfo.InvariantCulture,
                $"{Path.GetFileName(Source.Model) ?? "new"} {Source.ModelType} x {Source.Width ?? 1} {Source.ImageSize}")
                + PreprocessingDefaults.Mark(preprocessing)),
            ("Selection", $"{Method.Selection} {string.Join(',', Method.Selection.Keep)}"),
            ("Stages", FormattableString.Invariant($"{PretrainSteps}, {Method.TrainSteps}, {Method.FineTuneSteps} in ")
                + FormattableString.Invariant($"{Method.Rounds} rounds, {Method.Schedule}")),
            ("MoveConstants", Method.MoveConstants ? "yes" : "no"),
            ("Recover", Method.Recover is { } recover ? $"{recover} {Path.GetFileName(Source.Calibration)}" : "no"),
            ("Teacher", Path.GetFileName(Recipe.Teacher) ?? "none"),
        ],
    };
}
