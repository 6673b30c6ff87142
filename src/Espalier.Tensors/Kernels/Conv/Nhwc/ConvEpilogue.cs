namespace Espalier.Tensors.Kernels;

/// <summary>What is done around a convolution in the same pass: y = activation(conv(x') + bias + residual), where x' is x or,
/// with <see cref="InputScale"/>, relu(x · scale + shift) channel by channel: the batch norm and ReLU that precede the
/// convolutions of DenseNet and of pre-activation ResNet. Padding is zeros of x'.</summary>
internal unsafe struct ConvEpilogue
{
    /// <summary>Pixels like y's, <see cref="LdResidual"/> floats apart; null for none. It may be y itself.</summary>
    public float* Residual;

    public int LdResidual;

    public Activation Activation;

    /// <summary>[channels], or null.</summary>
    public float* InputScale;

    /// <summary>[channels], where there is <see cref="InputScale"/>.</summary>
    public float* InputShift;
}
