using Espalier.Cli;
using Espalier.Compression;
using Espalier.Inference;

namespace Espalier.Reproduce.Tests;

/// <summary>The experiments that time transformers beside their whole networks.</summary>
public sealed class ShapeReproductionTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("espalier").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    /// <summary>From random weights to files that open here and in ONNX Runtime.</summary>
    [Fact]
    public void Small_transformers_go_all_the_way()
    {
        var said = new StringWriter();
        var context = new CommandContext(new Terminal(said, TextWriter.Null, false, 200), default);
        ComparedMethod[] methods = [.. ComparedMethod.Transformers.Where(m => m.Id is "l1" or "topk" or "ats")];
        string section = new ShapeReproduction(context, folder, "vit-tiny-28", 28, 0.5, methods).Section();
        string[] rows = [.. section.Split('\n').Where(l => l.StartsWith("| L1 norm |") || l.StartsWith("| top-k") || l.StartsWith("| ATS |"))];
        Assert.Equal(3, rows.Length);
        foreach (string row in rows)
        {
            double[] cells = [.. row.Split('|')[3..7].Select(c => double.Parse(c, System.Globalization.CultureInfo.InvariantCulture))];
            Assert.InRange(cells[0], 0.3, 0.51);
            Assert.True(cells[1] > 0 && cells[2] > 0, row);
            Assert.InRange(cells[3], 0, 1e-4);
        }
        Assert.DoesNotContain("left out", said.ToString());
    }

    /// <summary>Networks that were trained for other lengths are not in one table.</summary>
    [Fact]
    public void A_folder_has_runs_of_one_length()
    {
        var context = new CommandContext(new Terminal(TextWriter.Null, TextWriter.Null, false, 200), default);
        File.WriteAllText(Path.Combine(folder, "steps.txt"), "100\n");
        NetworkRuns Of(long steps) => new(context, folder, Data.Datasets.OpenSample(), 28, steps);
        Of(100).RequireSteps();
        string said = Assert.Throws<EspalierException>(Of(1000).RequireSteps).Message;
        Assert.Contains("has runs of 100 steps, and 1000 are asked for", said);
    }

    [Fact]
    public void How_far_an_answer_is_off_goes_by_the_largest_value()
    {
        Assert.Equal(0.25, OnnxPeer.Difference([-4, 1, 2], [-4, 2, 2]));
        Assert.Equal(double.PositiveInfinity, OnnxPeer.Difference([1, 2], [1, float.NaN]));
    }

    /// <summary>The share is the largest that leaves no more than is wanted.</summary>
    [Fact]
    public void Agents_that_have_learnt_nothing_are_told_how_many_tokens_to_keep()
    {
        using Model model = Model.Create("vit-tiny-28", classes: 10, imageSize: 28);
        TokenAgents.Add(model);
        using Session session = model.Session();
        double share = StackReproduction.Kept(session, 0.6);
        Assert.True(Left(session, share) <= 0.6, $"{share}");
        Assert.True(Left(session, share + 0.01) > 0.6, $"{share}");
    }

    private static double Left(Session session, double share)
    {
        int left = session.Tokens - session.PrefixTokens;
        int[] tokens = [session.Tokens, .. session.AgentLayers.Select(_ =>
            session.PrefixTokens + (left = (int)Math.Ceiling(Math.Round(left * share, 6))))];
        return session.MultiplyAdds(tokens) / session.DenseMultiplyAdds;
    }
}
