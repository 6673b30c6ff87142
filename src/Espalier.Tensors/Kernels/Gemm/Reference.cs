namespace Espalier.Tensors.Kernels;

/// <summary>The matrix product as the definition says it, summed in double precision: what the fast one is tested against.
/// </summary>
internal static unsafe class Reference
{
    /// <summary>Same arguments and result as <see cref="Gemm"/>'s.</summary>
    public static void Run(
        bool transA, bool transB, int m, int n, int k, float* a, int lda, float* b, int ldb, float* c, int ldc,
        in Epilogue epilogue)
    {
        (nint rowA, nint stepA) = transA ? ((nint)1, (nint)lda) : (lda, 1);
        (nint columnB, nint stepB) = transB ? ((nint)ldb, (nint)1) : (1, ldb);
        for (int i = 0; i < m; i++)
        {
            for (int j = 0; j < n; j++)
            {
                double sum = epilogue.Accumulate ? c[((nint)i * ldc) + j] : 0;
                for (int p = 0; p < k; p++)
                {
                    sum += (double)a[(i * rowA) + (p * stepA)] * b[(j * columnB) + (p * stepB)];
                }

                if (epilogue.Bias != null)
                {
                    sum += epilogue.Bias[j];
                }

                if (epilogue.Gelu)
                {
                    if (epilogue.PreActivation != null)
                    {
                        epilogue.PreActivation[((nint)i * ldc) + j] = (float)sum;
                    }

                    sum *= epilogue.Quick == 0 ? Phi(sum) : 1 / (1 + Math.Exp(-epilogue.Quick * sum));
                }

                if (epilogue.Residual != null)
                {
                    sum += epilogue.Residual[((nint)i * epilogue.LdResidual) + j];
                }

                c[((nint)i * ldc) + j] = (float)sum;
            }
        }
    }

    // The normal distribution to 7.5e-8 (Abramowitz and Stegun 1964, 26.2.17).
    private static double Phi(double x)
    {
        double t = 1 / (1 + (0.2316419 * Math.Abs(x)));
        double series = t * (0.319381530 + (t * (-0.356563782 + (t * (1.781477937 + (t * (-1.821255978 + (t * 1.330274429))))))));
        double tail = Math.Exp(-x * x / 2) / Math.Sqrt(2 * Math.PI) * series;
        return x < 0 ? tail : 1 - tail;
    }
}
