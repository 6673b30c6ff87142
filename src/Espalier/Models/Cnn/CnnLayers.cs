using Espalier.Nn;
using Espalier.Tensors;

namespace Espalier.Models;

/// <summary>Shorthand for what the convolutional networks are made of.</summary>
internal static class CnnLayers
{
    /// <summary>A convolution without bias that keeps the size of the map at stride 1.</summary>
    public static Conv2d Conv(int inputs, int outputs, int kernel, ref Rng rng, int stride = 1, int groups = 1, bool bias = false) =>
        new(inputs, outputs, kernel, ref rng, stride, (kernel - 1) / 2, groups: groups, bias: bias);

    public static Sequential Conv(this Sequential layers, int inputs, int outputs, int kernel, ref Rng rng, int stride = 1,
        int groups = 1, bool bias = false)
    {
        Conv2d conv = Conv(inputs, outputs, kernel, ref rng, stride, groups, bias);
        return layers.Add(conv, conv.Forward);
    }

    public static Sequential BatchNorm(this Sequential layers, int channels, float epsilon = 1e-5f, float momentum = 0.1f)
    {
        var norm = new BatchNorm2d(channels, epsilon, momentum);
        return layers.Add(norm, norm.Forward);
    }

    /// <summary>Convolution, norm and activation as one layer that has three, as torchvision numbers them.</summary>
    public static Sequential Layer(this Sequential layers, int inputs, int outputs, int kernel, ref Rng rng,
        Func<Tensor, Tensor>? activation, int stride = 1, int groups = 1, float epsilon = 1e-5f, float momentum = 0.1f)
    {
        Sequential layer = new Sequential().Conv(inputs, outputs, kernel, ref rng, stride, groups)
            .BatchNorm(outputs, epsilon, momentum);
        if (activation is not null) layer.Add(activation);
        return layers.Add(layer, layer.Forward);
    }

    public static Sequential Linear(this Sequential layers, int inputs, int outputs, ref Rng rng)
    {
        var linear = new Linear(inputs, outputs, ref rng);
        return layers.Add(linear, x => linear.Forward(x));
    }

    public static Sequential Dropout(this Sequential layers, float rate)
    {
        var dropout = new Dropout();
        layers.Add(dropout, dropout.Forward);
        Nn.Dropout.SetRate(layers, rate);
        return layers;
    }

    /// <summary>The nearest multiple, but not less than nine tenths of the count: how widths of mobile networks are rounded.</summary>
    public static int Divisible(double channels, int divisor)
    {
        int nearest = Math.Max(divisor, (int)(channels + divisor / 2.0) / divisor * divisor);
        return nearest < 0.9 * channels ? nearest + divisor : nearest;
    }

    public static Tensor Relu6(Tensor x) => F.Clamp(x, 0, 6);

    /// <summary>[N, C, H, W] -> [N, C H W].</summary>
    public static Tensor Flatten(Tensor x) => F.Reshape(x, x.Shape[0], (int)(x.Length / x.Shape[0]));

    /// <summary>He's initialisation for ReLU by fan out for every convolution, as torchvision has it.</summary>
    public static void InitConvolutions(Module model, ref Rng rng)
    {
        foreach (Conv2d conv in model.Descendants<Conv2d>())
        {
            Init.KaimingNormal(conv.Weight, ref rng, fanOut: true);
            conv.Bias?.Fill(0);
        }
    }
}
