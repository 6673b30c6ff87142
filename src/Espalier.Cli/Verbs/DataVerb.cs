using System.CommandLine;
using Espalier.Cli.Display;
using Espalier.Cli.Options;
using Espalier.Data;
using Espalier.Imaging;
using Spectre.Console;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier data`: what data sets there are, getting them, looking into them.</summary>
internal static class DataVerb
{
    private static readonly Argument<string> Name = new("NAME") { Description = "Data set" };

    public static Command Create(CommandContext context)
    {
        var list = new Verb("list", "Lists the data sets and where their files are.", "espalier data list") { Shared.DataDir };
        list.SetAction(parse => List(context.Terminal, parse.GetValue(Shared.DataDir)));
        var fetch = new Verb("fetch", "Downloads a data set; goes on where an interrupted download stopped.",
            "espalier data fetch cifar10 --data-dir data/cifar10")
        { Name, Shared.DataDir };
        fetch.SetAction(parse => Fetch(context, parse.GetValue(Name)!, parse.GetValue(Shared.DataDir)));
        var check = new Verb("check", "Reads a data set whole: counts, sizes, images a class.",
            "espalier data check folder --data-dir my-images")
        { Name, Shared.DataDir };
        check.SetAction(parse => Check(context, parse.GetValue(Name)!, parse.GetValue(Shared.DataDir)));
        return new Verb("data", "Lists, fetches and checks data sets.", "espalier data list", "espalier data fetch fashion-mnist")
            { list, fetch, check };
    }

    private static int List(Terminal terminal, string? directory)
    {
        foreach (DatasetInfo info in Datasets.All)
        {
            string where = info.Name == FashionMnist.OpenSample().Info.Name ? "built in" : Datasets.Find(info.Name, directory)
                ?? (Datasets.CanFetch(info.Name) ? $"not here; get it with 'espalier data fetch {info.Name}'"
                    : "give the folder with --data-dir");
            terminal.Line($"{info.Name,-22}{info.Description}");
            terminal.Line($"{"",-22}{where}");
        }
        return ExitCodes.Done;
    }

    private static int Fetch(CommandContext context, string name, string? directory)
    {
        string folder = Watch.Run(context.Terminal, name, 1, report =>
        {
            var progress = new Received(p => report(p.Total is > 0 ? (double)p.Received / p.Total.Value : 0));
            return Datasets.FetchAsync(name, directory, progress, context.Cancel).GetAwaiter().GetResult();
        });
        context.Terminal.Line($"{name} is in {folder}");
        return ExitCodes.Done;
    }

    private static int Check(CommandContext context, string name, string? directory)
    {
        DatasetPair data = Datasets.Open(name, directory);
        var splits = new List<(string Name, Seen Seen)> { ("training", Look(context, data.Train, "training images")) };
        if (data.Validation is { } validation) splits.Add(("validation", Look(context, validation, "validation images")));
        splits.Add(("test", Look(context, data.Test, "test images")));
        Terminal terminal = context.Terminal;
        string counts = string.Join(", ", splits.SkipLast(1).Select(s => $"{s.Seen.Count.Sum()} {s.Name}"));
        terminal.Line($"{data.Info.Name}: {counts} and {splits[^1].Seen.Count.Sum()} test images, {data.Test.Classes} classes");
        terminal.Line($"size        {Sizes([.. splits.Select(s => s.Seen)])}");
        Table table = Tables.New(["class", .. splits.Select(s => s.Name)]);
        for (int c = 0; c < data.Test.Classes; c++)
            table.Row([data.Test.ClassNames[c], .. splits.Select(s => $"{s.Seen.Count[c]}")]);
        terminal.Console.Write(table);
        foreach (string line in SkippedList.Lines(data.Skipped.Files)) terminal.Line(line);
        return data.Skipped.Files.Any(f => f.IsPicture) ? ExitCodes.WrongInput : ExitCodes.Done;
    }

    private static Seen Look(CommandContext context, IImageDataset data, string what) =>
        Watch.Run(context.Terminal, what, data.Count, report =>
    {
        var seen = new Seen(new int[data.Classes]);
        for (int i = 0; i < data.Count; i++)
        {
            context.Cancel.ThrowIfCancellationRequested();
            if (i % 256 == 0) report(i);
            try
            {
                seen.Add(data.ReadImage(i), data.Label(i));
            }
            catch (EspalierException e) when (data.Skip(i, e))
            {
                // Named after all others were looked at.
            }
        }
        return seen;
    });

    private static string Sizes(Seen[] splits)
    {
        return $"{Range(s => s.Widths)} x {Range(s => s.Heights)} pixels, {Range(s => s.Channels)} channels";

        string Range(Func<Seen, SortedSet<int>> of)
        {
            int[] all = [.. splits.SelectMany(of)];
            return all.Length == 0 ? "no" : all.Min() == all.Max() ? $"{all[0]}" : $"{all.Min()}-{all.Max()}";
        }
    }

    private sealed record Seen(int[] Count)
    {
        public SortedSet<int> Widths { get; } = [];

        public SortedSet<int> Heights { get; } = [];

        public SortedSet<int> Channels { get; } = [];

        public void Add(Image image, int label)
        {
            Count[label]++;
            Widths.Add(image.Width);
            Heights.Add(image.Height);
            Channels.Add(image.Channels);
        }
    }

    /// <summary>Reports at once; Progress{T} would queue reports that arrive after the bar is gone.</summary>
    private sealed class Received(Action<DownloadProgress> report) : IProgress<DownloadProgress>
    {
        public void Report(DownloadProgress value) => report(value);
    }
}
