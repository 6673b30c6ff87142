using System.Text.RegularExpressions;

namespace Espalier.Training;

/// <summary>
/// The files of a run called NAME. Each is replaced atomically or, the history, grows line by line, so that after a crash
/// or a power cut all are whole.
/// <code>
/// NAME.safetensors                  the model at the last checkpoint, or at the end
/// NAME-best.safetensors             the best model of all evaluations
/// NAME-best-SELECTION.safetensors   the same, where a task chooses by more than one number
/// NAME.state                        what resuming needs: weights, optimiser, position, best values; safetensors layout
/// NAME.history.jsonl                one line a log point: {"step":10,"lr":0.03,"loss":2.1} and {"step":500,"eval/accuracy":0.9}
/// NAME.recipe.json                  the options of the run, where it was started from the command line
/// events/NAME/                      the same numbers for TensorBoard
/// NAME.lock                         while a process is training; keeps a second one away
/// </code>
/// </summary>
public sealed partial class RunFolder
{
    /// <exception cref="EspalierException">The name would not be a file's name in this folder.</exception>
    public RunFolder(string directory, string name)
    {
        if (!ValidName().IsMatch(name))
            throw new EspalierException($"'{name}' cannot name a run; use letters, digits, '.', '_' and '-', and begin with "
                + "a letter or digit.");
        (Directory, Name) = (System.IO.Path.GetFullPath(directory), name);
    }

    public string Directory { get; }

    public string Name { get; }

    public string Model => Path(".safetensors");

    public string State => Path(".state");

    public string History => Path(".history.jsonl");

    public string Recipe => Path(".recipe.json");

    public string Events => System.IO.Path.Combine(Directory, "events", Name);

    /// <summary>The model that the run is for: the best pruned one or the best one, of an earlier run of this name neither; else the last
    /// one; null where there is none.</summary>
    public string? Finished => new[] { Best("pruned"), Best() }.Where(File.Exists).MaxBy(File.GetLastWriteTimeUtc)
        ?? (File.Exists(Model) ? Model : null);

    /// <param name="selection">One of <see cref="EvaluationResult.Selections"/>; null where there is only one.</param>
    public string Best(string? selection = null) =>
        Path(selection is null ? "-best.safetensors" : $"-best-{selection}.safetensors");

    /// <summary>
    /// Makes the folder and keeps other processes from this run until the result is disposed, or the process dies.
    /// </summary>
    /// <exception cref="EspalierException">The folder cannot be made, or another process has the run.</exception>
    internal IDisposable Open()
    {
        try
        {
            System.IO.Directory.CreateDirectory(Directory);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EspalierException($"{Directory}: the folder cannot be made ({e.Message.ReplaceLineEndings(" ")}).", e);
        }
        try
        {
            return new FileStream(Path(".lock"), FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, 1,
                FileOptions.DeleteOnClose);
        }
        catch (IOException e)
        {
            throw new EspalierException(
                $"{Path(".lock")}: another process is training '{Name}'; wait for it or choose another name.", e);
        }
        catch (UnauthorizedAccessException e)
        {
            throw new EspalierException($"{Directory}: nothing can be written there ({e.Message.ReplaceLineEndings(" ")}).", e);
        }
    }

    /// <summary>Deletes what a crash left between writing a temporary file and renaming it. Only while the run is open.</summary>
    internal void DeleteStaleTemporaries()
    {
        foreach (string path in System.IO.Directory.EnumerateFiles(Directory, $".{Name}*.tmp"))
        {
            Match parts = Temporary().Match(System.IO.Path.GetFileName(path));
            if (parts.Success && parts.Groups["run"].Value == Name) Delete(path);
        }
    }

    /// <summary>Forgets an earlier run: without its state and curves, but with its models until new ones replace them.</summary>
    internal void DeleteState()
    {
        Delete(State);
        Delete(History);
        if (System.IO.Directory.Exists(Events))
            foreach (string path in System.IO.Directory.EnumerateFiles(Events, "events.out.tfevents.*")) Delete(path);
    }

    private static void Delete(string path)
    {
        try
        {
            File.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new EspalierException(
                $"{path}: cannot be deleted ({e.Message.ReplaceLineEndings(" ")}); check the permissions.", e);
        }
    }

    private string Path(string suffix) => System.IO.Path.Combine(Directory, Name + suffix);

    [GeneratedRegex(@"^[A-Za-z0-9][A-Za-z0-9._-]*\z")]
    private static partial Regex ValidName();

    /// <summary>How AtomicFile names the temporaries of this run's files.</summary>
    [GeneratedRegex(@"^\.(?<run>.+?)(-best(-[a-z0-9-]+)?)?\.(safetensors|state|history\.jsonl|recipe\.json)\.[0-9a-f]{32}\.tmp$")]
    private static partial Regex Temporary();
}
