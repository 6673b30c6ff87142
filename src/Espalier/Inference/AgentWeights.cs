using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Inference;

/// <summary>
/// An agent with everything folded that does not depend on the image. Its score of a token, the difference of its logits, is
/// linear in the token t and in the class token c: (A c + a)·t + g·c + s with, in the names of
/// <see cref="Compression.Apt.AptAgent"/> and u = Wo[1] - Wo[0] = [uv, uk],
/// A = Wkᵀ diag(uk) Wq, a = Wkᵀ(uk∘bq) + Wvᵀ uv, g = Wqᵀ(uk∘bk), s = (uk∘bk)·bq + uv·bv + bo[1] - bo[0].
/// </summary>
/// <param name="direction">A with the bias a: [D] -> [D].</param>
/// <param name="shift">g [D].</param>
/// <param name="constant">s.</param>
internal sealed unsafe class AgentWeights(PackedLayer direction, Tensor shift, float constant) : IDisposable
{
    public long Bytes => direction.Bytes;

    /// <summary>class tokens [images, D] -> for each image the row [D] that its tokens are multiplied with.</summary>
    public void Directions(int images, int width, float* classTokens, float* directions) =>
        direction.Run(images, classTokens, width, directions, width);

    /// <summary>What is added to the products of one image.</summary>
    public float Constant(ReadOnlySpan<float> classToken) =>
        constant + System.Numerics.Tensors.TensorPrimitives.Dot(classToken, shift.Span);

    public void Dispose()
    {
        direction.Dispose();
        shift.Dispose();
    }

    /// <summary>Folds the agent named <paramref name="prefix"/>.</summary>
    /// <param name="scratch">At least 4 D² values.</param>
    public static AgentWeights Read(IWeightSource source, string prefix, int width, float* scratch)
    {
        int d = width, square = checked(width * width);
        float* query = scratch, key = query + square, value = key + square, product = value + square;
        source.Read(prefix + "query.weight", new Span<float>(query, square));
        source.Read(prefix + "key.weight", new Span<float>(key, square));
        source.Read(prefix + "value.weight", new Span<float>(value, square));
        float[] queryBias = Vector("query.bias", d), keyBias = Vector("key.bias", d), valueBias = Vector("value.bias", d);
        float[] output = Vector("fc.weight", 4 * d), outputBias = Vector("fc.bias", 2);
        var u = new float[2 * d];
        for (int i = 0; i < u.Length; i++) u[i] = output[2 * d + i] - output[i];
        double constant = outputBias[1] - outputBias[0];
        var queryFactor = new float[d];
        for (int i = 0; i < d; i++)
        {
            float uk = u[d + i];
            queryFactor[i] = uk * keyBias[i];
            constant += (double)queryFactor[i] * queryBias[i] + (double)u[i] * valueBias[i];
            queryBias[i] *= uk;
        }

        Tensor shift = Tensor.Unscoped(new Shape(d)), bias = Tensor.Unscoped(new Shape(d));
        fixed (float* factor = queryFactor, scaledBias = queryBias, uv = u)
        {
            Row(factor, query, shift, false);
            Row(scaledBias, key, bias, false);
            Row(uv, value, bias, true);
        }

        for (int m = 0; m < d; m++) Scale(new Span<float>(key + (nint)m * d, d), u[d + m]);
        Gemm.Run(true, false, d, d, d, key, d, query, d, product, d, default);
        return new AgentWeights(
            new PackedLayer(PackedLinear.Create(Precision.Fp32, d, d, product), bias), shift, (float)constant);

        float[] Vector(string name, int length)
        {
            var values = new float[length];
            source.Read(prefix + name, values);
            return values;
        }

        // target [D] = (or +=) row [D] matrix [D, D]
        void Row(float* row, float* matrix, Tensor target, bool add) =>
            Gemm.Run(false, false, 1, d, d, row, d, matrix, d, target.Data, d, new Epilogue { Accumulate = add });
    }

    private static void Scale(Span<float> row, float factor) =>
        System.Numerics.Tensors.TensorPrimitives.Multiply(row, factor, row);
}
