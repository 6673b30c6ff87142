using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Tests.Compression.Methods;

/// <summary>
/// The pruned pass as the published training code does it, in plain double arithmetic on one image: no token goes away, but
/// -10000 is added to the score of a dropped one wherever it is a key.
/// </summary>
internal static class MaskedVit
{
    /// <returns>The logits, and the tokens left after each agent.</returns>
    public static (float[] Logits, List<int[]> Kept) Run(Model model, VitConfig c, float threshold, Tensor image)
    {
        var w = model.Graph.Parameters.ToDictionary(p => p.Name, p => p.Value);
        Graph embedding = model.Graph.Between(model.Graph.Inputs, [model.Graph.Nodes.Single(n => n.Op is AssembleTokensOp).Output]);
        Tensor embedded = embedding.Run(image);
        int n = c.Tokens, d = c.HiddenSize;
        double[] x = Array.ConvertAll(embedded.ToArray(), v => (double)v);
        var mask = new double[n];
        var kept = new List<int[]>();
        for (int i = 0; i < c.NumLayers; i++)
        {
            string layer = $"transformer.encoder.layer.{i}.";
            double[] y = Norm(layer + "attention_norm", x);
            double[] q = Linear(layer + "attn.query", y), k = Linear(layer + "attn.key", y), v = Linear(layer + "attn.value", y);
            Add(x, Linear(layer + "attn.out", Attend(q, k, v)));
            double[] hidden = Linear(layer + "ffn.fc1", Norm(layer + "ffn_norm", x));
            for (int j = 0; j < hidden.Length; j++) hidden[j] *= NormalCdf(hidden[j]);
            Add(x, Linear(layer + "ffn.fc2", hidden));
            int agent = Array.IndexOf(c.PruneLayers!, i);
            if (agent < 0) continue;
            double[] p = PruneProbabilities($"transformer.encoder.clip_layer.{agent}.", x);
            for (int t = c.PrefixTokens; t < n; t++) if (p[t] > threshold) mask[t] -= 10000;
            kept.Add([.. Enumerable.Range(0, n).Where(t => mask[t] == 0)]);
        }
        double[] logits = Linear("head", Norm("transformer.encoder.encoder_norm", x));
        return (Array.ConvertAll(logits[..c.NumClasses], l => (float)l), kept);

        double[] Linear(string name, double[] rows)
        {
            Tensor weight = w[name + ".weight"], bias = w[name + ".bias"];
            int outputs = weight.Shape[0], inputs = weight.Shape[1];
            var y = new double[rows.Length / inputs * outputs];
            for (int r = 0; r < rows.Length / inputs; r++)
                for (int o = 0; o < outputs; o++)
                {
                    double sum = bias.Span[o];
                    for (int j = 0; j < inputs; j++) sum += rows[r * inputs + j] * weight.Span[o * inputs + j];
                    y[r * outputs + o] = sum;
                }
            return y;
        }

        double[] Norm(string name, double[] rows)
        {
            var y = new double[rows.Length];
            for (int r = 0; r < n; r++)
            {
                double[] row = rows[(r * d)..((r + 1) * d)];
                double mean = row.Average(), variance = row.Average(v => (v - mean) * (v - mean));
                for (int j = 0; j < d; j++)
                    y[r * d + j] = (row[j] - mean) / Math.Sqrt(variance + 1e-6) * w[name + ".weight"].Span[j] + w[name + ".bias"].Span[j];
            }
            return y;
        }

        double[] Attend(double[] q, double[] k, double[] v)
        {
            int head = d / c.NumHeads;
            var y = new double[n * d];
            for (int h = 0; h < c.NumHeads; h++)
                for (int r = 0; r < n; r++)
                {
                    var score = new double[n];
                    for (int t = 0; t < n; t++)
                    {
                        for (int j = h * head; j < (h + 1) * head; j++) score[t] += q[r * d + j] * k[t * d + j];
                        score[t] = score[t] / Math.Sqrt(head) + mask[t];
                    }
                    double max = score.Max(), sum = score.Sum(s => Math.Exp(s - max));
                    for (int t = 0; t < n; t++)
                        for (int j = h * head; j < (h + 1) * head; j++) y[r * d + j] += Math.Exp(score[t] - max) / sum * v[t * d + j];
                }
            return y;
        }

        double[] PruneProbabilities(string name, double[] rows)
        {
            double[] q = Linear(name + "query", rows[..d]), k = Linear(name + "key", rows), v = Linear(name + "value", rows);
            var joined = new double[n * 2 * d];
            for (int t = 0; t < n; t++)
                for (int j = 0; j < d; j++) (joined[t * 2 * d + j], joined[t * 2 * d + d + j]) = (v[t * d + j], q[j] * k[t * d + j]);
            double[] logits = Linear(name + "fc", joined);
            return [.. Enumerable.Range(0, n).Select(t => 1 / (1 + Math.Exp(logits[2 * t] - logits[2 * t + 1])))];
        }
    }

    private static void Add(double[] to, double[] from)
    {
        for (int i = 0; i < to.Length; i++) to[i] += from[i];
    }

    /// <summary>The integral of the normal density, by its power series: x below 6 here, where it converges well.</summary>
    private static double NormalCdf(double x)
    {
        if (Math.Abs(x) > 6) return x > 0 ? 1 : 0;
        double term = x, sum = x;
        for (int i = 3; Math.Abs(term) > 1e-17 * Math.Abs(sum) && i < 400; i += 2) sum += term *= x * x / i;
        return 0.5 + sum * Math.Exp(-x * x / 2) / Math.Sqrt(2 * Math.PI);
    }
}
