using System.Numerics;
using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>What the ReLU behind a channel norm lets through of a gradient: where (x - mean)·scale + shift is above 0. Computed
/// again with the same rounding, so that the norm's own result need not be kept. By default there is no ReLU, and all goes
/// through.</summary>
internal readonly struct ReluGate(float scale, float shift, bool relu)
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Vector<float> Run(Vector<float> dy, Vector<float> centred)
    {
        if (!relu) return dy;
        Vector<float> z = Vector.FusedMultiplyAdd(centred, new Vector<float>(scale), new Vector<float>(shift));
        return Vector.ConditionalSelect(Vector.GreaterThan(z, Vector<float>.Zero), dy, Vector<float>.Zero);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public float Run(float dy, float centred) => !relu || MathF.FusedMultiplyAdd(centred, scale, shift) > 0 ? dy : 0;
}
