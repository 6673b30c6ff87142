using System.Runtime.InteropServices;

namespace Espalier.Tensors.Kernels;

/// <summary>The D that a block's tiles add for nothing: the sum so far, the bias or the residual; and what is then left of the
/// epilogue.</summary>
internal readonly unsafe struct Addend
{
    private static readonly float* Zeros = (float*)NativeMemory.AllocZeroed(64, sizeof(float));

    /// <summary>D's first value, the distance between its rows and that between its columns: 1, or 0 where all are zero.
    /// </summary>
    public readonly float* D;
    public readonly nint Row;
    public readonly nint Column;

    /// <summary>What is to be applied after the last block.</summary>
    public readonly Epilogue Rest;

    public Addend(in Product product, bool first)
    {
        Epilogue epilogue = product.Epilogue;
        bool inPlace = epilogue.Residual == product.C && epilogue.Residual != null;
        bool ontoC = epilogue.Accumulate || inPlace;
        bool residual = epilogue.Residual != null && epilogue.Bias == null && !epilogue.Gelu;
        Column = 1;
        if (!first || ontoC)
        {
            D = product.C;
            Row = product.Ldc;
        }
        else if (epilogue.Bias != null)
        {
            D = epilogue.Bias;
            Row = 0;
        }
        else if (residual)
        {
            D = epilogue.Residual;
            Row = epilogue.LdResidual;
        }
        else
        {
            D = Zeros;
            Row = 0;
            Column = 0;
        }

        Rest = epilogue;
        Rest.Bias = ontoC ? epilogue.Bias : null;
        Rest.Residual = inPlace || (residual && !ontoC) ? null : epilogue.Residual;
    }
}
