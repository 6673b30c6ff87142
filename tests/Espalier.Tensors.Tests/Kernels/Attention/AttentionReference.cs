namespace Espalier.Tensors.Tests.Kernels.Attention;

/// <summary>Attention of one head of one image in double precision, as the formula says it. Matrices are [tokens, d].</summary>
internal sealed class AttentionReference
{
    public AttentionReference(double[] q, double[] k, double[] v, int tokens, int d, double scale)
    {
        P = new double[tokens * tokens];
        Out = new double[tokens * d];
        LogSumExp = new double[tokens];
        for (int i = 0; i < tokens; i++)
        {
            double max = double.NegativeInfinity, sum = 0;
            for (int j = 0; j < tokens; j++)
            {
                double score = 0;
                for (int c = 0; c < d; c++) score += q[i * d + c] * k[j * d + c];
                P[i * tokens + j] = score * scale;
                max = Math.Max(max, score * scale);
            }

            for (int j = 0; j < tokens; j++) sum += Math.Exp(P[i * tokens + j] - max);
            LogSumExp[i] = max + Math.Log(sum);
            for (int j = 0; j < tokens; j++)
            {
                P[i * tokens + j] = Math.Exp(P[i * tokens + j] - LogSumExp[i]);
                for (int c = 0; c < d; c++) Out[i * d + c] += P[i * tokens + j] * v[j * d + c];
            }
        }
    }

    /// <summary>Probabilities [tokens, tokens].</summary>
    public double[] P { get; }

    public double[] Out { get; }

    public double[] LogSumExp { get; }

    /// <summary>Gradients of sum(dOut * Out).</summary>
    public (double[] DQ, double[] DK, double[] DV) Backward(
        double[] q, double[] k, double[] v, double[] dOut, int tokens, int d, double scale)
    {
        var dq = new double[tokens * d];
        var dk = new double[tokens * d];
        var dv = new double[tokens * d];
        var dp = new double[tokens];
        for (int i = 0; i < tokens; i++)
        {
            double dot = 0;
            for (int j = 0; j < tokens; j++)
            {
                dp[j] = 0;
                for (int c = 0; c < d; c++)
                {
                    dp[j] += dOut[i * d + c] * v[j * d + c];
                    dv[j * d + c] += P[i * tokens + j] * dOut[i * d + c];
                }

                dot += dp[j] * P[i * tokens + j];
            }

            for (int j = 0; j < tokens; j++)
            {
                double ds = P[i * tokens + j] * (dp[j] - dot) * scale;
                for (int c = 0; c < d; c++)
                {
                    dq[i * d + c] += ds * k[j * d + c];
                    dk[j * d + c] += ds * q[i * d + c];
                }
            }
        }

        return (dq, dk, dv);
    }
}
