using Espalier.Evaluation;
using Espalier.Imaging;

namespace Espalier.Reporting;

/// <summary>What a report shows. Every list may be empty: its section is then left out.</summary>
public sealed record ReportData
{
    public required string Title { get; init; }

    /// <summary>One line of facts: data set, model, machine.</summary>
    public string Subtitle { get; init; } = "";

    /// <summary>The command that made the report, for the footer.</summary>
    public string CommandLine { get; init; } = "";

    /// <summary>The program and its version, for the footer.</summary>
    public string Version { get; init; } = "";

    /// <summary>The models compared. The first is the reference that ratios are taken against.</summary>
    public IReadOnlyList<ReportRow> Rows { get; init; } = [];

    /// <summary>Accuracy over compute at several thresholds of one model.</summary>
    public IReadOnlyList<TradeOffPoint> TradeOff { get; init; } = [];

    /// <summary>What the trade-off is measured against: the same model with every token; null for the first row.</summary>
    public ReportRow? Unpruned { get; init; }

    /// <summary>Training curves; those with the same panel share one chart.</summary>
    public IReadOnlyList<Curve> Curves { get; init; } = [];

    /// <summary>Tokens left after each pruning layer, in the order of the layers.</summary>
    public IReadOnlyList<TokenHistogram> Tokens { get; init; } = [];

    /// <summary>Images with the tokens that were dropped; of models that drop none, with what was said of them.</summary>
    public IReadOnlyList<GalleryItem> Gallery { get; init; } = [];

    /// <summary>Which class was taken for which.</summary>
    public Confusion? Confusion { get; init; }
}

/// <summary>One model of the comparison.</summary>
/// <param name="Accuracy">Share of images classified right, 0 to 1.</param>
/// <param name="Loss">Mean cross-entropy in nats, if known.</param>
/// <param name="MultiplyAdds">Mean multiply-adds of one image.</param>
/// <param name="ImagesPerSecond">Measured throughput; 0 where it was not measured.</param>
/// <param name="TokensPerLayer">Mean tokens: those that enter, then those left after each pruning layer.</param>
/// <param name="Highlight">The model that the report is about; without one it is the last row.</param>
public sealed record ReportRow(string Name, double Accuracy, double? Loss, double MultiplyAdds, double ImagesPerSecond,
    double[]? TokensPerLayer = null, bool Highlight = false);

/// <summary>Which class was taken for which.</summary>
/// <param name="Classes">Their names, in the order of the counts.</param>
public sealed record Confusion(IReadOnlyList<string> Classes, ClassCounts Counts);

/// <summary>How a value is written.</summary>
public enum ValueFormat
{
    /// <summary>A plain number, such as a loss.</summary>
    Number,

    /// <summary>A share from 0 to 1, written in percent.</summary>
    Percent,
}

/// <summary>One line of a chart.</summary>
/// <param name="Panel">Title of the chart it belongs to, for example "Loss".</param>
/// <param name="Points">Values at ascending steps; a value that is not finite leaves a gap.</param>
public sealed record Curve(string Name, string Panel, IReadOnlyList<CurvePoint> Points, ValueFormat Format = ValueFormat.Number);

/// <summary>A value at one step of training.</summary>
public readonly record struct CurvePoint(double Step, double Value);

/// <summary>Tokens left after one layer.</summary>
/// <param name="Kept">One number an image.</param>
/// <param name="Entered">Tokens that enter the model; ends the axis. 0: the largest number kept.</param>
public sealed record TokenHistogram(string LayerName, int[] Kept, int Entered = 0);

/// <summary>What one threshold gives.</summary>
/// <param name="Accuracy">0 to 1.</param>
/// <param name="ComputeShare">Multiply-adds relative to the unpruned model, 1 = the same.</param>
public readonly record struct TradeOffPoint(double Threshold, double Accuracy, double ComputeShare);

/// <summary>An image and what was left of it.</summary>
/// <param name="Grid">Patches a side; 0 without tokens.</param>
/// <param name="Stages">One for each pruning layer, in order; none where nothing is pruned.</param>
/// <param name="PrefixTokens">Tokens in front of the patches: 1 for a class token, 2 with a distillation token.</param>
public sealed record GalleryItem(Image Image, int Grid, IReadOnlyList<TokenStage> Stages, string Label, string Prediction,
    int PrefixTokens = 1)
{
    /// <summary>Whether the prediction is the label.</summary>
    public bool Correct => Label == Prediction;
}

/// <summary>The tokens that are left after a layer.</summary>
/// <param name="Name">For example "after layer 2".</param>
/// <param name="Kept">Token numbers of the original sequence: prefix tokens, then patches row by row.</param>
public sealed record TokenStage(string Name, int[] Kept);
