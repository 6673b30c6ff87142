using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>Numbers in steps, from 0 on, to codes: what a loop holds in registers for it.</summary>
/// <param name="least">Where numbers are cut; likewise the most.</param>
/// <param name="zero">The code of 0.</param>
internal readonly unsafe struct CodeRounding<S, V>(float least, float most, float zero) where S : ISimd<V> where V : struct
{
    private readonly V least = S.Set(least), most = S.Set(most), zero = S.Set(zero), rounder = S.Set(CodeRange.Rounder);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(V v, byte* to) => S.StoreLowBytes(S.Add(S.Add(S.Min(S.Max(v, least), most), rounder), zero), to);
}
