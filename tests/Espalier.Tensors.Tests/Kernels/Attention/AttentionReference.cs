namespace Espalier.Tensors.Tests.Kernels.Attention;

/// <summary>
/// Attention of one head of one image in double precision, as the formula says it: q [queries, d], k [keys, d], v [keys, dv], and
/// a bias [queries, keys] that may be minus infinity.
/// </summary>
internal sealed class AttentionReference
{
    private readonly double[] q, k, v;
    private readonly int queries, keys, d, dv;
    private readonly double scale;

    public AttentionReference(
        double[] q, double[] k, double[] v, int queries, int keys, double scale, Func<int, int, double>? bias = null)
    {
        (this.q, this.k, this.v, this.queries, this.keys, this.scale) = (q, k, v, queries, keys, scale);
        (d, dv) = (k.Length / keys, v.Length / keys);
        P = new double[queries * keys];
        Out = new double[queries * dv];
        LogSumExp = new double[queries];
        for (int i = 0; i < queries; i++)
        {
            double max = double.NegativeInfinity, sum = 0;
            for (int j = 0; j < keys; j++)
            {
                double score = 0;
                for (int c = 0; c < d; c++) score += q[i * d + c] * k[j * d + c];
                P[i * keys + j] = score * scale + (bias?.Invoke(i, j) ?? 0);
                max = Math.Max(max, P[i * keys + j]);
            }

            for (int j = 0; j < keys; j++) sum += Math.Exp(P[i * keys + j] - max);
            LogSumExp[i] = double.IsNegativeInfinity(max) ? max : max + Math.Log(sum);
            for (int j = 0; j < keys; j++)
            {
                P[i * keys + j] = double.IsNegativeInfinity(max) ? 0 : Math.Exp(P[i * keys + j] - LogSumExp[i]);
                for (int c = 0; c < dv; c++) Out[i * dv + c] += P[i * keys + j] * v[j * dv + c];
            }
        }
    }

    /// <summary>Probabilities [queries, keys]; zeros for a query that sees nothing.</summary>
    public double[] P { get; }

    /// <summary>[queries, dv]</summary>
    public double[] Out { get; }

    public double[] LogSumExp { get; }

    /// <summary>Gradients of sum(dOut * Out).</summary>
    public (double[] DQ, double[] DK, double[] DV, double[] DBias) Backward(double[] dOut)
    {
        var dq = new double[q.Length];
        var dk = new double[k.Length];
        var dValues = new double[v.Length];
        var dBias = new double[P.Length];
        var dp = new double[keys];
        for (int i = 0; i < queries; i++)
        {
            double dot = 0;
            for (int j = 0; j < keys; j++)
            {
                dp[j] = 0;
                for (int c = 0; c < dv; c++)
                {
                    dp[j] += dOut[i * dv + c] * v[j * dv + c];
                    dValues[j * dv + c] += P[i * keys + j] * dOut[i * dv + c];
                }

                dot += dp[j] * P[i * keys + j];
            }

            for (int j = 0; j < keys; j++)
            {
                double ds = dBias[i * keys + j] = P[i * keys + j] * (dp[j] - dot);
                for (int c = 0; c < d; c++)
                {
                    dq[i * d + c] += ds * scale * k[j * d + c];
                    dk[j * d + c] += ds * scale * q[i * d + c];
                }
            }
        }

        return (dq, dk, dValues, dBias);
    }
}
