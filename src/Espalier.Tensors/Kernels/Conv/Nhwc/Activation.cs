namespace Espalier.Tensors.Kernels;

/// <summary>The function after a convolution. A NaN stays one in each of them.</summary>
internal enum Activation
{
    None,

    /// <summary>max(x, 0).</summary>
    Relu,

    /// <summary>min(max(x, 0), 6).</summary>
    Relu6,

    /// <summary>x / (1 + e^-x).</summary>
    Silu,

    /// <summary>1 / (1 + e^-x).</summary>
    Sigmoid,
}
