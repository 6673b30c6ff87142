using System.CommandLine;
using Espalier.Peers;
using Espalier;

// The roles of child processes first: what starts quickly is measured.
switch (args)
{
    case ["serve"]:
        new EspalierServer().Run(Console.In, Console.Out);
        return 0;
    case ["serve-ort"]:
        new OrtServer().Run(Console.In, Console.Out);
        return 0;
    case ["first", var weights, var input, var batch]:
        FirstPrediction.Run(weights, input, int.Parse(batch), Console.Out);
        return 0;
    case ["first-ort", var model, var input, var batch, var channels, var size]:
        FirstOrtPrediction.Run(model, input, int.Parse(batch), int.Parse(channels), int.Parse(size), Console.Out);
        return 0;
    case ["models", var folder]:
        new ModelFolder(folder).WriteAll();
        return 0;
}

var rows = new Option<string?>("--rows") { Description = "Only the trials whose section or name contains this" };
var quick = new Option<bool>("--quick")
{
    Description = "The most important rows in three short rounds: about two minutes, rough figures, the page stays as it is",
};
var work = new Option<string>("--work")
{
    Description = "Folder for models, raw samples and the peers' libraries",
    Required = true,
};
var scripts = new Option<string>("--scripts")
{
    Description = "Folder of the peers' scripts and of reasons.json",
    Required = true,
};
var page = new Option<string?>("--page") { Description = "The page that a full run writes its results into" };
var otherBuild = new Option<string?>("--other-build")
{
    Description = "Folder of an older build, from old-build.sh: times it and this build in turn, instead of the peers",
};
var runs = new Option<int>("--runs")
{
    Description = "How often a comparison with --other-build measures all its rows", DefaultValueFactory = _ => 5,
};
runs.Validators.Add(result =>
{
    if (result.GetValue(runs) < 1) result.AddError("--runs must be at least 1");
});
var threads = new Option<int>("--threads") { Description = "Threads of every side", DefaultValueFactory = _ => 2 };

var root = new RootCommand("Runs Espalier beside ONNX Runtime and PyTorch")
{
    rows, quick, work, scripts, page, otherBuild, runs, threads,
};
root.SetAction(parse =>
{
    bool full = !parse.GetValue(quick);
    var settings = new BenchSettings(Path.GetFullPath(parse.GetValue(work)!), Path.GetFullPath(parse.GetValue(scripts)!),
        Rounds: full ? 5 : 3, WarmUps: full ? 3 : 2, WindowSeconds: full ? 0.4 : 0.2, parse.GetValue(threads), Quick: !full);
    string? filter = parse.GetValue(rows);
    if (parse.GetValue(otherBuild) is { } folder)
        return BuildComparison.Run(settings, folder, parse.GetValue(runs), filter);
    return Comparison.Run(settings, filter, full && filter is null ? parse.GetValue(page) : null);
});

try
{
    return root.Parse(args).Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
}
catch (EspalierException e)
{
    Console.Error.WriteLine($"peers: {e.Message}");
    return 1;
}
