using Espalier.Cli.Running;
using Espalier.Evaluation;
using Spectre.Console;

namespace Espalier.Cli.Display;

/// <summary>The tables that several verbs print.</summary>
internal static class Tables
{
    public static Table New(params string[] columns)
    {
        var table = new Table { Border = TableBorder.Simple };
        for (int i = 0; i < columns.Length; i++)
        {
            Justify side = i == 0 ? Justify.Left : Justify.Right;
            table.AddColumn(new TableColumn(Markup.Escape(columns[i])) { Alignment = side, NoWrap = true });
        }
        return table;
    }

    public static void Row(this Table table, params string[] cells) => table.AddRow([.. cells.Select(c => new Text(Terminal.Clean(c)))]);

    /// <summary>Models side by side; ratios are against the first.</summary>
    public static void Compare(Terminal terminal, IReadOnlyList<ModelRow> rows)
    {
        bool tokens = rows.Any(r => r.Evaluation.Tokens.Length > 0);
        string[] left = tokens ? ["tokens left"] : [];
        Table table = New(["model", "accuracy", .. left, "MACs an image", "share", "images/s", "speed"]);
        double macs = rows[0].Evaluation.MultiplyAdds, rate = rows[0].Evaluation.ImagesPerSecond;
        foreach (var (name, e, _, _) in rows)
        {
            string[] counts = tokens ? [Format.Tokens(e.Tokens)] : [];
            table.Row([name, Format.Percent(e.Accuracy), .. counts, Format.Large(e.MultiplyAdds),
                Format.Share(e.MultiplyAdds / macs), Format.Rate(e.ImagesPerSecond),
                Format.Number(e.ImagesPerSecond / rate, "0.00") + "x"]);
        }
        terminal.Console.Write(table);
    }

    /// <summary>Tokens left after each pruning layer: mean, least and most over the images.</summary>
    public static void Tokens(Terminal terminal, TokenCounts counts, IReadOnlyList<int> layers)
    {
        Table table = New("tokens", "mean", "min", "max");
        for (int i = 0; i < counts.Stages; i++)
            table.Row(i == 0 ? "initial" : $"after layer {layers[i - 1]}", Format.Number(counts.Mean(i), "0.00"),
                $"{counts.Least(i)}", $"{counts.Most(i)}");
        terminal.Console.Write(table);
    }

    /// <summary>Accuracy over compute at several thresholds.</summary>
    public static void Curve(Terminal terminal, IReadOnlyList<(double Threshold, ModelEvaluation Evaluation)> points,
        ModelEvaluation unpruned)
    {
        Table table = New("threshold", "accuracy", "tokens left", "MACs an image", "share", "images/s");
        foreach (var (threshold, e) in points) Add(Format.Number(threshold, "0.00"), e);
        Add("unpruned", unpruned);
        terminal.Console.Write(table);

        void Add(string name, ModelEvaluation e) => table.Row(name, Format.Percent(e.Accuracy), Format.Tokens(e.Tokens),
            Format.Large(e.MultiplyAdds), Format.Share(e.MultiplyAdds / unpruned.MultiplyAdds), Format.Rate(e.ImagesPerSecond));
    }
}
