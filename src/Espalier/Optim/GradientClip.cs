using System.Numerics;
using Espalier.Tensors;
using Espalier.Tensors.Threading;

namespace Espalier.Optim;

/// <summary>Limits the size of gradients.</summary>
public static unsafe class GradientClip
{
    /// <summary>
    /// Scales all gradients by min(1, <paramref name="maxNorm"/> / (norm + 1e-6)), as <c>torch.nn.utils.clip_grad_norm_</c>,
    /// and returns their joint Euclidean norm before that. Parameters without a gradient are left out.
    /// </summary>
    /// <param name="parameters">A list, and not any sequence, so that a call allocates nothing.</param>
    public static double ByGlobalNorm(IReadOnlyList<Tensor> parameters, float maxNorm)
    {
        double norm = Norm(parameters);
        float scale = (float)Math.Min(1, maxNorm / (norm + 1e-6));
        if (scale < 1) Scale(parameters, scale);
        return norm;
    }

    /// <summary>The Euclidean norm of all gradients together, summed in double precision.</summary>
    public static double Norm(IReadOnlyList<Tensor> parameters)
    {
        double sum = 0;
        for (int i = 0; i < parameters.Count; i++)
            if (parameters[i].Grad is { } g) sum += SumOfSquares(g);
        return Math.Sqrt(sum);
    }

    private static void Scale(IReadOnlyList<Tensor> parameters, float scale)
    {
        for (int i = 0; i < parameters.Count; i++)
            if (parameters[i].Grad is { } g) ElementUpdate.Run(new ScaleRule(new(scale)), g, g, null, null);
    }

    private static double SumOfSquares(Tensor x)
    {
        double* sums = stackalloc double[Workers.MaxThreads];
        int blocks = ElementUpdate.Blocks(x.Length), parts = Workers.Parts(blocks, ElementUpdate.Grain);
        Workers.For(blocks, ElementUpdate.Grain, new SumJob { X = x.Data, Length = x.Length, Sums = sums });
        double sum = 0;
        for (int i = 0; i < parts; i++) sum += sums[i];
        return sum;
    }

    private readonly struct ScaleRule(Vector<float> scale) : IElementRule
    {
        public static int States => 0;

        public void Apply(Vector<float> x, ref Vector<float> y, ref Vector<float> a, ref Vector<float> b) => y = scale * x;
    }

    private struct SumJob : IRangeJob
    {
        public float* X;
        public long Length;
        public double* Sums;

        public readonly void Run(int start, int end, int worker)
        {
            Vector<double> low = default, high = default;
            long i = (long)start * ElementUpdate.Block, last = Math.Min(Length, (long)end * ElementUpdate.Block);
            for (; i + Vector<float>.Count <= last; i += Vector<float>.Count)
            {
                Vector.Widen(Vector.Load(X + i), out Vector<double> a, out Vector<double> b);
                low += a * a;
                high += b * b;
            }
            double sum = Vector.Sum(low + high);
            for (; i < last; i++) sum += (double)X[i] * X[i];
            Sums[worker] = sum;
        }
    }
}
