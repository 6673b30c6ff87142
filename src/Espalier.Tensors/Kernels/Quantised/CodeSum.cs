using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>The sum of two numbers in codes, as a code: as ONNX Runtime's QLinearAdd has it on x86, with the steps of both over that
/// of the sum, all zero points in one number, and two multiply-adds of one rounding each, that of the second operand first.</summary>
/// <param name="Own">Step of a convolution's own result over that of the sum; likewise that of what is added.</param>
/// <param name="Fixed">What the zero points come to.</param>
/// <param name="OwnFirst">Whether the convolution's own result is the first operand.</param>
internal readonly record struct CodeSum(float Own, float Other, float Fixed, bool OwnFirst)
{
    public static CodeSum Of(CodeStep own, CodeStep other, CodeStep sum, bool ownFirst)
    {
        float a = own.Scale / sum.Scale, b = other.Scale / sum.Scale;
        return new CodeSum(a, b, sum.Zero - ((a * own.Zero) + (b * other.Zero)), ownFirst);
    }

    public bool IsNone => Own == 0;

    /// <summary>The code before it is rounded and cut.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public V Run<S, V>(V own, V other) where S : ISimd<V> where V : struct => OwnFirst
        ? S.Fused(own, S.Set(Own), S.Fused(other, S.Set(Other), S.Set(Fixed)))
        : S.Fused(other, S.Set(Other), S.Fused(own, S.Set(Own), S.Set(Fixed)));
}
