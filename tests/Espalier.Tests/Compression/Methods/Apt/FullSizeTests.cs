using Espalier.Compression;
using Espalier.Compression.Methods.Apt;
using Espalier.Inference;
using Espalier.Models;
using Espalier.Nn;
using Espalier.Optim;
using Espalier.Tensors;
using Espalier.Tensors.Memory;

namespace Espalier.Tests.Compression.Methods;

/// <summary>The published size, with random weights: takes some seconds and 1.5 GB.</summary>
[Collection("alone")]
public sealed class FullSizeTests
{
    [Fact]
    public void ViT_B_16_prunes_and_trains_in_a_fixed_amount_of_memory()
    {
        VitConfig config = VitPresets.Get("ViT-B_16") with { NumClasses = 10 };
        using Model model = Model.FromModule(new VisionTransformer(config));
        TokenAgents.Add(model);
        Assert.Equal([2, 5, 8], new RowCosts(model.Graph).KeepsAfter);
        Assert.Equal(3 * 1_774_850, TokenAgent.Find(model.Graph).Sum(a => a.Agent.Weights.Sum(w => w.Value.Length)));
        using (new Scope())
        {
            int[] tokens = new AptPasses(model.Graph).Pruned(Images(1)).TokensOf(0);
            Assert.Equal(197, tokens[0]);
            Assert.True(tokens[3] >= 1 && tokens[3] <= tokens[2] && tokens[2] <= tokens[1] && tokens[1] <= 197);
        }

        // Nothing is pruned, so that every step needs the same.
        model.SetKeepRule(KeepRule.AtLeast(-1));
        var task = new AptTask(model, new Apt());
        var optimizer = new Sgd(ParameterGroup.Of(model.Graph), momentum: 0.9f);
        long[] held = new long[3], left = new long[3];
        for (int step = 0; step < 3; step++)
        {
            using (new Scope())
            {
                var log = task.Step(Images(2), [3, 7], 1, new Rng(1, (ulong)step));
                Assert.True(double.IsFinite(log["loss"]) && double.IsFinite(log["agent_loss/2"]));
                optimizer.Step(0.001f);
                foreach (var (_, parameter) in model.Graph.Parameters) parameter.ClearGrad();
            }
            (held[step], left[step]) = (TensorPool.BytesHeld, TensorPool.BytesInUse);
        }
        Assert.Equal(held[1], held[2]);
        Assert.True(left[2] <= left[0], $"{left[2]} bytes are left after the third step, {left[0]} after the first");
        TensorPool.Trim();
    }

    private static Tensor Images(int count)
    {
        var rng = new Rng(9);
        var x = new Tensor(new Shape(count, 3, 224, 224));
        Init.Normal(x, 1, ref rng);
        return x;
    }
}
