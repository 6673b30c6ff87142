using Espalier.Tensors.Kernels;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors;

/// <summary>
/// y = A B, A and B being a and b or, where the flag says so, their transposes over the last two axes.
/// A [m, k], B [k, n] -> y [m, n], or with the same axes of a batch in front of all three.
/// </summary>
public sealed unsafe class MatMulOp : Op
{
    private readonly Tensor a, b;
    private readonly bool transposeA, transposeB;
    private readonly int batch, m, n, k;

    public MatMulOp(Tensor a, Tensor b, bool transposeA = false, bool transposeB = false) : base(a, b)
    {
        bool fit = a.Rank >= 2 && b.Rank == a.Rank && a.Shape[transposeA ? -2 : -1] == b.Shape[transposeB ? -1 : -2];
        batch = 1;
        for (int i = 0; i < a.Rank - 2 && fit; i++)
        {
            fit = a.Shape[i] == b.Shape[i];
            batch = checked(batch * a.Shape[i]);
        }
        if (!fit)
        {
            throw new ArgumentException(
                $"MatMul: a {a.Shape}{(transposeA ? "ᵀ" : "")} and b {b.Shape}{(transposeB ? "ᵀ" : "")} must be [(batch,) m, k] " +
                "and [(batch,) k, n]");
        }
        (this.a, this.b, this.transposeA, this.transposeB) = (a, b, transposeA, transposeB);
        (m, k, n) = (a.Shape[transposeA ? -1 : -2], a.Shape[transposeA ? -2 : -1], b.Shape[transposeB ? -2 : -1]);
    }

    public override string Name => "MatMul";

    public bool TransposeA => transposeA;

    public bool TransposeB => transposeB;

    public override Shape Result => a.Shape.With(-2, m).With(-1, n);

    public override Cost Cost => new(
        (long)batch * m * n * k, sizeof(float) * (long)batch * ((long)m * k + (long)k * n + (long)m * n));

    protected override void Save(OpSettings settings) => settings.Set("transposeA", transposeA).Set("transposeB", transposeB);

    private protected override RowSet? ResultRows() => transposeA ? null : base.ResultRows();

    protected override Tensor Forward()
    {
        var y = new Tensor(Result);
        Run(new Product(transposeA, transposeB, m, n, k, a.Data, a.Shape[-1], b.Data, b.Shape[-1], y.Data, n, false));
        return y;
    }

    protected internal override void Backward(Tensor dy)
    {
        if (Wants(a))
        {
            Tensor da = GradOf(a, out bool accumulate);
            Run(transposeA
                ? new Product(transposeB, true, k, m, n, b.Data, b.Shape[-1], dy.Data, n, da.Data, m, accumulate)
                : new Product(false, !transposeB, m, k, n, dy.Data, n, b.Data, b.Shape[-1], da.Data, k, accumulate));
        }
        if (Wants(b))
        {
            Tensor db = GradOf(b, out bool accumulate);
            Run(transposeB
                ? new Product(true, transposeA, n, k, m, dy.Data, n, a.Data, a.Shape[-1], db.Data, k, accumulate)
                : new Product(!transposeA, false, k, n, m, a.Data, a.Shape[-1], dy.Data, n, db.Data, n, accumulate));
        }
    }

    /// <summary>y has A's rows and B's columns; A's columns are B's rows; the batch is the same in all.</summary>
    public override void Flow(ChannelFlow flow)
    {
        flow.Same(Output, -2, a, transposeA ? -1 : -2);
        flow.Same(Output, -1, b, transposeB ? -2 : -1);
        flow.Same(a, transposeA ? -2 : -1, b, transposeB ? -1 : -2);
        flow.Work(Output, -2);
        flow.Work(Output, -1);
        flow.Work(a, transposeA ? -2 : -1);
        for (int i = 0; i < a.Rank - 2; i++)
        {
            flow.Work(Output, i);
            flow.Same(Output, i, a, i);
            flow.Same(Output, i, b, i);
        }
    }

    // Many small products are spread over threads whole; few are each split inside.
    private void Run(in Product product)
    {
        if (batch >= Workers.Threads) Workers.For(batch, 1, product);
        else product.Run(0, batch, 0);
    }

    private readonly struct Product(
        bool transposeA, bool transposeB, int m, int n, int k,
        float* a, int lda, float* b, int ldb, float* c, int ldc, bool accumulate)
        : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            for (long i = start; i < end; i++)
            {
                Gemm.Run(transposeA, transposeB, m, n, k, a + i * m * k, lda, b + i * k * n, ldb, c + i * m * n, ldc,
                    new Epilogue { Accumulate = accumulate });
            }
        }
    }
}

public static partial class F
{
    /// <inheritdoc cref="MatMulOp"/>
    public static Tensor MatMul(Tensor a, Tensor b, bool transposeA = false, bool transposeB = false) =>
        new MatMulOp(a, b, transposeA, transposeB).Run();
}
