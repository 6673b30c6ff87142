using System.Globalization;
using Espalier.Compression;

namespace Espalier.Cli.Running;

/// <summary>Several budgets of one search: a run for each, whose files have the budget in their names.</summary>
internal static class BudgetRuns
{
    /// <summary>The runs, the smallest budget first: what it cannot reach is refused before the search, which the first run does
    /// and the others read.</summary>
    /// <exception cref="EspalierException">The method searches for one budget alone, or a run would do again what belongs to all.
    /// </exception>
    public static IReadOnlyList<CompressPlan> Of(CompressPlan plan, IReadOnlyList<double> budgets)
    {
        if (plan.Method is not ISharedSearch search)
            throw new EspalierException($"--budgets: {plan.Method.Name} has no search that serves several budgets, as "
                + $"{string.Join(", ", CompressionMethods.All.Where(m => m is ISharedSearch).Select(m => m.Name))} has; give --target-flops");
        if (plan.Method.HasTarget)
            throw new EspalierException("--budgets: are shares of the multiply-adds, so there is no other target; leave it out");
        if (plan.PretrainSteps > 0)
            throw new EspalierException("--budgets: --pretrain-steps would be done for each; train the network first");
        string output = plan.Output!;
        string searched = search.Searched.Length > 0 ? search.Searched : Named(output, "search");
        CompressionMethod method = search.SearchedIn(searched);
        return [.. budgets.Order().Select(budget =>
        {
            string name = budget.ToString(CultureInfo.InvariantCulture);
            return plan with
            {
                Output = Named(output, name), PlanFile = plan.PlanFile is { } file ? Named(file, name) : null,
                Report = plan.Report is { } report ? new ReportFile(Named(report.Path, name)) : null,
                Method = method with
                {
                    TargetFlops = budget, Training = method.Training with
                    {
                        OutputDir = method.Training.OutputDir is { } folder ? Path.Combine(folder, name) : null,
                    },
                },
            };
        })];
    }

    /// <summary>Does them all. A search that nobody named is done anew, even where an earlier command left its file.</summary>
    public static void Run(CompressPlan plan, IReadOnlyList<double> budgets, CommandContext context)
    {
        IReadOnlyList<CompressPlan> runs = Of(plan, budgets);
        string searched = ((ISharedSearch)runs[0].Method).Searched;
        Folders.RefuseInput(searched, plan.Source.Model, "--output");
        if (((ISharedSearch)plan.Method).Searched.Length == 0 && File.Exists(searched)) File.Delete(searched);
        foreach (CompressPlan run in runs)
        {
            context.Terminal.Line(FormattableString.Invariant($"budget      {run.Method.TargetFlops}"));
            new CompressRun(run, context).Run();
        }
        context.Terminal.Line($"search      {searched}");
    }

    /// <summary>"small-0.5.safetensors" of "small.safetensors".</summary>
    private static string Named(string file, string name) =>
        $"{Path.ChangeExtension(file, null)}-{name}{Path.GetExtension(file)}";
}
