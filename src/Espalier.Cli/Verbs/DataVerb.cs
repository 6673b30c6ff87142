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

    public static Command Create(Session session)
    {
        var list = new Verb("list", "Lists the data sets and where their files are.", "espalier data list") { Shared.DataDir };
        list.SetAction(parse => List(session.Terminal, parse.GetValue(Shared.DataDir)));
        var fetch = new Verb("fetch", "Downloads a data set; goes on where an interrupted download stopped.",
            "espalier data fetch cifar10 --data-dir data/cifar10")
        { Name, Shared.DataDir };
        fetch.SetAction(parse => Fetch(session, parse.GetValue(Name)!, parse.GetValue(Shared.DataDir)));
        var check = new Verb("check", "Reads a data set whole: counts, sizes, images a class.",
            "espalier data check folder --data-dir my-images")
        { Name, Shared.DataDir };
        check.SetAction(parse => Check(session, parse.GetValue(Name)!, parse.GetValue(Shared.DataDir)));
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

    private static int Fetch(Session session, string name, string? directory)
    {
        string folder = Watch.Run(session.Terminal, name, 1, report =>
        {
            var progress = new Received(p => report(p.Total is > 0 ? (double)p.Received / p.Total.Value : 0));
            return Datasets.FetchAsync(name, directory, progress, session.Cancel).GetAwaiter().GetResult();
        });
        session.Terminal.Line($"{name} is in {folder}");
        return ExitCodes.Done;
    }

    private static int Check(Session session, string name, string? directory)
    {
        DatasetPair data = Datasets.Open(name, directory);
        var train = Look(session, data.Train, "training images");
        var test = Look(session, data.Test, "test images");
        session.Terminal.Line($"{data.Info.Name}: {data.Train.Count} training and {data.Test.Count} test images, "
            + $"{data.Train.Classes} classes");
        session.Terminal.Line($"size        {Sizes(train, test)}");
        Table table = Tables.New("class", "training", "test");
        for (int c = 0; c < data.Train.Classes; c++) table.Row(data.Train.ClassNames[c], $"{train.Count[c]}", $"{test.Count[c]}");
        session.Terminal.Console.Write(table);
        return ExitCodes.Done;
    }

    private static Seen Look(Session session, IImageDataset data, string what) =>
        Watch.Run(session.Terminal, what, data.Count, report =>
    {
        var seen = new Seen(new int[data.Classes]);
        for (int i = 0; i < data.Count; i++)
        {
            session.Cancel.ThrowIfCancellationRequested();
            Image image = data.ReadImage(i);
            seen.Count[data.Label(i)]++;
            seen.Widths.Add(image.Width);
            seen.Heights.Add(image.Height);
            seen.Channels.Add(image.Channels);
            if (i % 256 == 0) report(i);
        }
        return seen;
    });

    private static string Sizes(Seen a, Seen b)
    {
        string Range(Func<Seen, SortedSet<int>> of) =>
            of(a).Concat(of(b)).Min() is var low && of(a).Concat(of(b)).Max() is var high && low == high ? $"{low}"
                : $"{low}-{high}";
        return $"{Range(s => s.Widths)} x {Range(s => s.Heights)} pixels, {Range(s => s.Channels)} channels";
    }

    private sealed record Seen(int[] Count)
    {
        public SortedSet<int> Widths { get; } = [];

        public SortedSet<int> Heights { get; } = [];

        public SortedSet<int> Channels { get; } = [];
    }

    /// <summary>Reports at once; Progress{T} would queue reports that arrive after the bar is gone.</summary>
    private sealed class Received(Action<DownloadProgress> report) : IProgress<DownloadProgress>
    {
        public void Report(DownloadProgress value) => report(value);
    }
}
