namespace Espalier.Peers;

/// <summary>One state of the code, built. Its workers speak the protocol of <see cref="Peer"/>.</summary>
/// <param name="Name">"old" or "new".</param>
/// <param name="Program">This program as that state has it.</param>
/// <param name="Models">Folder with the models as that state writes them; null for the files of the running build.</param>
/// <param name="Commit">Empty where it is not known.</param>
internal sealed record Build(string Name, string Program, string? Models, string Commit)
{
    /// <summary>The build that is running.</summary>
    public static Build New() => new("new", Environment.ProcessPath!, null, Revision.Current());

    /// <summary>What old-build.sh left in a folder, or the output folder of any other build.</summary>
    /// <exception cref="EspalierException">It is none.</exception>
    public static Build Old(string folder)
    {
        folder = Path.GetFullPath(folder);
        string program = Path.Combine(folder, Path.GetFileName(Environment.ProcessPath!));
        string models = Path.Combine(folder, "models"), commit = Path.Combine(folder, "commit");
        if (!File.Exists(program))
            throw new EspalierException(
                $"{folder}: has no {Path.GetFileName(program)}; make one with benchmarks/peers/old-build.sh");
        return new Build("old", program, Directory.Exists(models) ? models : null,
            File.Exists(commit) ? File.ReadAllText(commit).Trim() : "");
    }

    /// <summary>The file of a model that this build reads.</summary>
    public string Weights(ModelFiles model) =>
        Models is null ? model.Weights : Path.Combine(Models, Path.GetFileName(model.Weights));

    /// <summary>A process of this build in one of its roles.</summary>
    public ChildProcess Role(params string[] arguments) => new(Program, arguments);
}
