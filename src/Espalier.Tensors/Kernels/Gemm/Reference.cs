namespace Espalier.Tensors.Kernels;

/// <summary>The matrix product as the definition says it, summed in double precision: what the fast one is tested against.
/// </summary>
internal static unsafe class Reference
{
    /// <summary>Same arguments and result as <see cref="Gemm.Run(bool, bool, int, int, int, float*, int, float*, int, float*, int,
    /// in Epilogue)"/>.</summary>
    public static void Run(
        bool transA, bool transB, int m, int n, int k, float* a, int lda, float* b, int ldb, float* c, int ldc, in Epilogue epilogue)
    {
        for (int i = 0; i < m; i++)
        {
            for (int j = 0; j < n; j++)
            {
                double sum = epilogue.Accumulate ? c[((nint)i * ldc) + j] : 0;
                for (int p = 0; p < k; p++)
                {
                    double x = transA ? a[((nint)p * lda) + i] : a[((nint)i * lda) + p];
                    double y = transB ? b[((nint)j * ldb) + p] : b[((nint)p * ldb) + j];
                    sum += x * y;
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
