using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>Matrix products in single precision. All matrices are row-major; <c>ld</c> is the distance between rows as stored.
/// Memory is checked by the caller; C must overlap neither A nor B. The same sizes and number of available threads give the
/// same bits.
/// </summary>
internal static unsafe class Gemm
{
    /// <summary>C [m, n] = op(A) [m, k] op(B) [k, n], then the epilogue.</summary>
    /// <param name="transA">Whether A is stored as its transpose, [k, m].</param>
    /// <param name="transB">Whether B is stored as its transpose, [n, k].</param>
    public static void Run(
        bool transA, bool transB, int m, int n, int k, float* a, int lda, float* b, int ldb, float* c, int ldc,
        in Epilogue epilogue) =>
        Run(null, transA, transB, m, n, k, a, lda, b, ldb, c, ldc, epilogue);

    /// <summary>The same; with a tile of bfloat16, by it, unless the product is too small to gain.</summary>
    /// <param name="rounded">See <see cref="ProductPrecision.Tile"/>.</param>
    public static void Run(
        DotTile? rounded, bool transA, bool transB, int m, int n, int k, float* a, int lda, float* b, int ldb, float* c, int ldc,
        in Epilogue epilogue)
    {
        var product = new Product
        {
            Tiles = KernelInfo.Tiles,
            M = m,
            N = n,
            K = k,
            TransA = transA,
            TransB = transB,
            A = a,
            Lda = lda,
            B = b,
            Ldb = ldb,
            C = c,
            Ldc = ldc,
            Epilogue = epilogue,
        };
        if (rounded is null || Math.Min(Math.Min(m, n), k) < Bf16Gemm.Fewest) Run(product);
        else Bf16Gemm.Run(rounded, product);
    }

    /// <summary>C [m, n] = A [m, k] B [k, n], then the epilogue, with B packed beforehand.</summary>
    public static void Run(int m, int n, int k, float* a, int lda, PackedB b, float* c, int ldc, in Epilogue epilogue)
    {
        if (b.N != n || b.K != k)
        {
            throw new ArgumentException($"Gemm: packed B is [{b.K}, {b.N}], the product wants [{k}, {n}]", nameof(b));
        }

        Run(new Product
        {
            Tiles = b.Tiles,
            M = m,
            N = n,
            K = k,
            A = a,
            Lda = lda,
            Panels = b.Data,
            C = c,
            Ldc = ldc,
            Epilogue = epilogue,
        });
        GC.KeepAlive(b);
    }

    /// <summary>Runs any product, with the tiles it names.</summary>
    public static void Run(in Product product)
    {
        if (product.Epilogue.Gelu && (product.Epilogue.Accumulate || product.Epilogue.Residual == product.C))
        {
            throw new ArgumentException("Gemm: GELU cannot be combined with adding to C");
        }

        if (product.M <= 0 || product.N <= 0)
        {
            return;
        }

        Grid grid = Grid.Choose(product, Workers.Available);
        var job = new PartsJob { Product = product, Grid = grid };
        if (grid.Steps > 1)
        {
            job.PartialSums = GemmScratch.PartialSums.Get((nint)product.M * product.N * grid.Steps);
        }

        Workers.For(grid.Parts, 1, job);
        if (grid.Steps > 1)
        {
            Workers.For(product.M, 8, new SumJob { Product = product, PartialSums = job.PartialSums, Count = grid.Steps });
        }
    }

    private struct PartsJob : IRangeJob
    {
        public Product Product;
        public Grid Grid;

        /// <summary>[steps of the grid, M, N], or null where K is not split.</summary>
        public float* PartialSums;

        public readonly void Run(int start, int end, int worker)
        {
            for (int index = start; index < end; index++)
            {
                (Range rows, Range columns, Range steps) = Grid.Part(Product, index);
                Product product = Product;
                if (PartialSums != null)
                {
                    int part = index / (Grid.Rows * Grid.Columns);
                    product.C = PartialSums + ((nint)part * product.M * product.N);
                    product.Ldc = product.N;
                    product.Epilogue = default;
                }

                Region.Run(product, rows, columns, steps);
            }
        }
    }

    /// <summary>C = the partial sums in their order, then the epilogue.</summary>
    private struct SumJob : IRangeJob
    {
        public Product Product;
        public float* PartialSums;
        public int Count;

        public readonly void Run(int start, int end, int worker)
        {
            int n = Product.N;
            var addend = new Addend(Product, first: true);
            for (int i = start; i < end; i++)
            {
                float* c = Product.C + ((nint)i * Product.Ldc);
                float* partial = PartialSums + ((nint)i * n);
                for (int part = 1; part < Count; part++)
                {
                    Epilogue.Add(partial + ((nint)part * Product.M * n), partial, n);
                }

                if (addend.Column == 1)
                {
                    Epilogue.Add(addend.D + (i * addend.Row), partial, n);
                }

                new ReadOnlySpan<float>(partial, n).CopyTo(new Span<float>(c, n));
            }

            addend.Rest.Apply(Product.C, Product.Ldc, start, 0, end - start, n);
        }
    }
}
