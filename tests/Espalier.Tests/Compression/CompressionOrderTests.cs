using Espalier.Compression;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Compression;

/// <summary>What methods say of what they cannot follow is what happens, and an impossible order is refused with its reason.</summary>
public sealed class CompressionOrderTests
{
    private static readonly Dictionary<string, (string Name, string Value)> Settings = new()
    {
        ["ats"] = ("count", "8"), ["topk"] = ("keep", "0.8"), ["evit"] = ("keep", "0.8"), ["dynamicvit"] = ("keep", "0.8"),
        ["random-tokens"] = ("keep", "0.8"), ["tome"] = ("merge", "2"),
    };

    private static TokenMethod Token(string name) => (TokenMethod)CompressionMethods.Get(name).Set(Settings[name].Name, Settings[name].Value);

    public static TheoryData<string, string> Pairs
    {
        get
        {
            var pairs = new TheoryData<string, string>();
            foreach (string first in Settings.Keys) foreach (string then in Settings.Keys) pairs.Add(first, then);
            return pairs;
        }
    }

    [Fact]
    public void All_methods_on_tokens_are_here() =>
        Assert.Equal(CompressionMethods.All.OfType<TokenMethod>().Select(m => m.Name).Order(), Settings.Keys.Order());

    /// <summary>In words and on a network.</summary>
    [Theory]
    [MemberData(nameof(Pairs))]
    public void What_is_said_of_an_order_is_what_happens(string first, string then)
    {
        using Model model = TokenNets.Vit();
        Assert.Equal(NetworkTraits.None, CompressionOrder.TraitsOf(model.Graph));
        Token(first).Apply(model.Graph);
        Assert.Equal(Token(first).Leaves, CompressionOrder.TraitsOf(model.Graph));
        string? said = Message(() => CompressionOrder.Check(Token(first), Token(then)));
        int nodes = model.Graph.Nodes.Count;
        string? happened = Message(() => Token(then).Apply(model.Graph));
        Assert.Equal(said is not null, happened is not null && happened.Contains("cannot follow", StringComparison.Ordinal));
        Assert.Equal(said is not null, CompressionOrder.CannotFollow(Token(first)).Any(m => m.Name == then));
        if (said is null) return;
        Assert.Equal(nodes, model.Graph.Nodes.Count);
        Assert.Contains($"{then} cannot follow {first}, whose network ", said, StringComparison.Ordinal);
        Assert.EndsWith(said[said.LastIndexOf(", as ", StringComparison.Ordinal)..], happened, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', said + happened);
    }

    [Fact]
    public void Agents_come_first_and_merging_last()
    {
        using Model model = TokenNets.Vit(classes: 10);
        TokenAgents.Add(model);
        Assert.Equal(NetworkTraits.HasAgents, CompressionOrder.TraitsOf(model.Graph));
        CompressionMethod apt = CompressionMethods.Get("apt");
        CompressionOrder.Check(apt, model.Graph);
        foreach (string name in new[] { "tome", "dynamicvit", "patch-slimming" })
            Assert.Contains("has agents that drop tokens", Message(() => CompressionOrder.Check(CompressionMethods.Get(name), model.Graph)));
        CompressionMethod[] possible = [.. new[] { "nvit", "vtp", "l1", "apt", "topk" }.Select(CompressionMethods.Get)];
        CompressionOrder.Check(possible);
        Assert.Contains("tome cannot follow spvit", Message(() => CompressionOrder.Check(
            CompressionMethods.Get("spvit"), CompressionMethods.Get("tome"))));
        Assert.Contains("apt cannot follow topk", Message(() => CompressionOrder.Check([.. possible.Reverse()])));
    }

    /// <summary>A threshold of agents would become the rule of every place where tokens are dropped.</summary>
    [Fact]
    public void Training_in_a_methods_own_way_is_refused_as_well()
    {
        using Model model = TokenNets.Vit(classes: 10);
        Token("topk").Apply(model.Graph);
        var apt = (ITrainingMethod)CompressionMethods.Get("apt");
        Assert.Contains("apt cannot follow that", Message(() => apt.NewTask(model, 0, 0, 1)));
        Assert.Empty(TokenAgent.Find(model.Graph));
        CompressionJob job = CompressionJobs.Job(model, CompressionMethods.Get("apt") with { TrainSteps = 1 });
        Assert.Contains("drops tokens already", Message(job.Run));
        Assert.Empty(job.Stages);
    }

    [Fact]
    public void Numbers_are_rounded_last()
    {
        using Model model = TokenNets.Vit(classes: 10);
        GraphNode first = TransformerBlocks.Of(model.Graph).Blocks[0].Fc1;
        model.Graph.InsertAfter(first.Operands[0]!, x => F.Quantise(x, Tensor.Full(new Shape(1), 0.1f)));
        Assert.Equal(NetworkTraits.FewBits, CompressionOrder.TraitsOf(model.Graph));
        foreach (string name in new[] { "vtp", "nvit", "wdpruning", "vit-slim", "apt", "topk", "tome", "dynamicvit" })
        {
            CompressionMethod method = CompressionMethods.Get(name);
            CompressionJob job = CompressionJobs.Job(model, method with { TrainSteps = method.TrainsFirst ? 1 : 0 });
            string? message = Message(job.Run);
            Assert.Contains("has values or weights of few bits", message, StringComparison.Ordinal);
            Assert.Contains("before rounding", message, StringComparison.Ordinal);
        }
        CompressionOrder.Check(CompressionMethods.Get("l1"), model.Graph);
    }

    private static string? Message(Action act) => (Record.Exception(act) as EspalierException)?.Message;
}
