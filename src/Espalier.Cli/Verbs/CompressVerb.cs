using System.CommandLine;
using Espalier.Cli.Options;
using Espalier.Cli.Running;
using Espalier.Compression;

namespace Espalier.Cli.Verbs;

/// <summary>`espalier compress`: any network, made smaller for good.</summary>
internal static class CompressVerb
{
    private static readonly Option<bool> List = Opt.Flag("--list", "Name every method, what it does and its settings");

    public static Argument<string?> Method { get; } = new("method")
    {
        Description = "How channels are chosen; --list names all", Arity = ArgumentArity.ZeroOrOne,
        CompletionSources = { Opt.Words(CompressionMethods.All.Select(m => m.Name)) },
    };

    public static Command Create(CommandContext context)
    {
        var verb = new Verb("compress", "Removes channels, heads or blocks of any network for good, and trains what is left.",
            "espalier compress l1 --model-type resnet20 --data fashion-mnist --pretrain-steps 2000 --target-flops 0.5 "
                + "--fine-tune-steps 1000 --output small.safetensors",
            "espalier compress l1 --model vit.safetensors --target-flops 0.5 --groups heads,hidden,qk,v "
                + "--output small.safetensors",
            "espalier compress l1 --model small.safetensors --ratio 0.3 --plan", "espalier compress --list");
        verb.Arguments.Add(Method);
        foreach (Option option in CompressFlags.All) verb.Options.Add(option);
        verb.Options.Add(List);
        verb.Subcommands.Add(SensitivityVerb.Create(context));
        verb.SetAction(parse => Run(parse, context));
        return verb;
    }

    private static int Run(ParseResult parse, CommandContext context)
    {
        if (parse.GetValue(List))
        {
            ShowMethods(context.Terminal);
            return ExitCodes.Done;
        }
        string name = parse.GetValue(Method)
            ?? throw new EspalierException("say how to compress: espalier compress METHOD ...; --list names the methods");
        CompressionMethod method = CompressionMethods.Get(name);
        return FlagNames.In(parse, method.Settings, () =>
        {
            CompressPlan plan = CompressFlags.Read(parse, method);
            IReadOnlyList<double> budgets = CompressFlags.Budgets(parse);
            if (budgets.Count > 0) BudgetRuns.Of(plan, budgets);
            // A run that goes on keeps its recipe: what is refused must not change it.
            if (plan is { PlanOnly: false, Method.Training.Resume: false }
                && ResumedRun.CompressRecipe(plan.Method.Training.OutputDir) is { } state)
            {
                Folders.MakeFor(state);
                RecipeFile.Write(state, parse);
            }
            if (budgets.Count > 0) BudgetRuns.Run(plan, budgets, context);
            else new CompressRun(plan, context).Run();
            if (plan is { Output: { } output, PlanOnly: false })
            {
                string recipe = Path.ChangeExtension(output, ".recipe.json");
                RecipeFile.Write(recipe, parse);
                context.Terminal.Line($"recipe      {recipe}");
            }
            return ExitCodes.Done;
        });
    }

    private static void ShowMethods(Terminal terminal)
    {
        int width = CompressionMethods.All.Max(m => m.Name.Length);
        string indent = new(' ', width);
        foreach (CompressionMethod method in CompressionMethods.All)
        {
            terminal.Line($"{method.Name.PadRight(width)}  {method.Purpose}");
            string[] never = [.. CompressionOrder.CannotFollow(method).Select(m => m.Name)];
            if (never.Length > 0) terminal.Line($"{indent}    cannot be followed by {string.Join(", ", never)}");
            foreach (MethodSetting s in method.Settings) terminal.Line($"{indent}    --set {s.Name}={s.Usual}: {s.Meaning}");
        }
    }
}
