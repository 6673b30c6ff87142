using Espalier.Distributed;

namespace Espalier.Reproduce;

/// <summary>
/// What is whose among the processes that mpirun has started, over one folder: who makes a claim first, an empty file that all
/// can see, has what it names. Claims are of one start: what an earlier one left is cleared away.
/// </summary>
internal sealed class WorkShare(string folder)
{
    private const string Ending = ".claim";

    private static readonly TimeSpan Look = TimeSpan.FromMilliseconds(200);

    /// <summary>Null where this process is alone.</summary>
    public static WorkShare? Of(string folder) => MpiRanks.Started == 1 ? null : new WorkShare(folder);

    /// <summary>Waits for all processes, while nobody works; what was claimed in the folder and below is nobody's then.</summary>
    public static void Meet(IRanks ranks, string folder)
    {
        ranks.Sum(0);
        if (ranks.Rank == 0) Clear(folder);
        ranks.Sum(0);
    }

    /// <summary>Takes all claims back.</summary>
    public static void Clear(string folder)
    {
        if (!Directory.Exists(folder)) return;
        foreach (string claim in Directory.GetFiles(folder, "*" + Ending, SearchOption.AllDirectories)) File.Delete(claim);
    }

    /// <summary>The same in an order that begins elsewhere for each process.</summary>
    public static T[] Turned<T>(IReadOnlyList<T> all, IRanks ranks) =>
        [.. all.Select((_, i) => all[(i + ranks.Rank * all.Count / ranks.Count) % all.Count])];

    /// <summary>Whether this process has it now; no other one will.</summary>
    public bool Claim(string name)
    {
        Directory.CreateDirectory(folder);
        try
        {
            using var claim = new FileStream(PathOf(name), FileMode.CreateNew, FileAccess.Write);
            return true;
        }
        catch (IOException) when (File.Exists(PathOf(name)))
        {
            return false;
        }
    }

    /// <summary>Tells those that wait for it why it will not come.</summary>
    public void Fail(string name, string why) => File.WriteAllText(PathOf(name), why.Length > 0 ? why : "it failed");

    /// <summary>Waits for what another process has claimed.</summary>
    /// <exception cref="EspalierException">It failed there.</exception>
    /// <exception cref="OperationCanceledException"/>
    public T Wait<T>(string name, Func<T?> come, CancellationToken cancel) where T : class
    {
        while (true)
        {
            if (come() is { } result) return result;
            if (File.ReadAllText(PathOf(name)) is { Length: > 0 } why) throw new EspalierException(why);
            cancel.WaitHandle.WaitOne(Look);
            cancel.ThrowIfCancellationRequested();
        }
    }

    private string PathOf(string name) => Path.Combine(folder, name + Ending);
}
