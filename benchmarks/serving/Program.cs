using Espalier;
using Espalier.Serving;

// Puts a service under load over loopback, and its figures into docs/serving.md.
string root = Repository();
string model = args.Length > 0 ? args[0] : Path.Combine(root, "models", "apt-fashion-mnist.safetensors");
string image = args.Length > 1 ? args[1] : Path.Combine(root, "examples", "images", "bag.png");
string? made = null;
if (!File.Exists(model))
{
    // The name of a network: with random weights it takes the time of a trained one.
    made = Path.Combine(Directory.CreateTempSubdirectory("espalier-serving-").FullName, model + ".safetensors");
    using Model fresh = Model.Create(model);
    fresh.Save(made);
}
try
{
    LoadFigures figures;
    using (var server = ServerUnderLoad.Start(made ?? model, queue: 128))
        figures = await new Load(server, File.ReadAllBytes(image)).Run();
    foreach (string wrong in figures.Wrong.Distinct()) Console.WriteLine(wrong);
    Console.WriteLine(figures.Half);
    ServingPage.Write(Path.Combine(root, "docs", "serving.md"), Path.GetFileNameWithoutExtension(made ?? model), figures);
    return figures.Wrong.Count == 0 ? 0 : 1;
}
finally
{
    if (made is not null) Directory.Delete(Path.GetDirectoryName(made)!, recursive: true);
}

static string Repository()
{
    DirectoryInfo? folder = new(AppContext.BaseDirectory);
    while (folder is not null && !File.Exists(Path.Combine(folder.FullName, "Espalier.slnx"))) folder = folder.Parent;
    return folder?.FullName ?? throw new InvalidOperationException("not in the repository");
}
