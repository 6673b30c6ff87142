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

                    sum *= 0.5 * (1 + Erf.Run((float)(sum / Math.Sqrt(2))));
                }

                if (epilogue.Residual != null)
                {
                    sum += epilogue.Residual[((nint)i * epilogue.LdResidual) + j];
                }

                c[((nint)i * ldc) + j] = (float)sum;
            }
        }
    }
}
