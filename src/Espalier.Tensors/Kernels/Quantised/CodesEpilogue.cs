using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Espalier.Tensors.Kernels;

/// <summary>
/// What becomes of the sums of products of codes, while they are in the cache: y = after(mid(activation(sum · scale)) + residual),
/// rounded to codes again or stored as floats. Where codes come of it, those are ONNX Runtime's: a sum is multiplied once and rounded
/// once, and codes are added as by QLinearAdd (<see cref="CodeSum"/>). Every processor gives the same.
/// </summary>
internal unsafe struct CodesEpilogue
{
    /// <summary>[outputs, whole panels of 32]: scale of x times that of the output's weights, over that of <see cref="First"/> where
    /// there is such.</summary>
    public float* Scale;

    public Activation Activation;

    /// <summary>Codes that the result is rounded to before a residual is added; of no scale for none.</summary>
    public CodeStep Mid;

    /// <summary>Pixels like y's of codes or floats, <see cref="LdResidual"/> apart, which is 0 for none.</summary>
    public byte* ResidualCodes;
    public float* ResidualFloats;
    public int LdResidual;
    public CodeStep ResidualStep;

    /// <summary>How <see cref="Mid"/> and codes of the residual become codes; none where anything is between.</summary>
    public CodeSum Sum;

    /// <summary>The function after the sum.</summary>
    public Activation After;

    /// <summary>Where pixels of codes or of floats go, <see cref="Ldy"/> apart. Pixels of codes have room for whole vectors of 16.
    /// <see cref="Step"/> is of no scale for floats.</summary>
    public byte* Codes;
    public float* Floats;
    public int Ldy;
    public CodeStep Step;

    /// <summary>Whether channels up to the next multiple of 16 are free to be written: not where groups follow one another.</summary>
    public bool HasRoom;

    /// <summary>Whether a tile of machine code ends with this itself: see <see cref="IsForTile"/>.</summary>
    public bool InTile;

    public readonly bool IsNone => Codes == null && Floats == null;

    /// <summary>The codes that sums are rounded to with nothing but limits before; of no scale for none.</summary>
    public readonly CodeStep First => !OnlyLimits ? default
        : Mid.Scale != 0 ? Mid : LdResidual == 0 && After == Activation.None ? Step : default;

    /// <summary>Whether codes are nothing but rounded sums.</summary>
    public readonly bool OnlyRounds =>
        Codes != null && LdResidual == 0 && Mid.Scale == 0 && After == Activation.None && OnlyLimits;

    private readonly bool OnlyLimits => Activation is Activation.None or Activation.Relu or Activation.Relu6;

    /// <summary>Whether a tile can end with this: codes from 0 to 255, with no other limits, of numbers that fit an int32, or the sum
    /// with codes of a residual that lie as far apart.</summary>
    /// <param name="outputs">How many scales there are.</param>
    public readonly bool IsForTile(int outputs)
    {
        if (Step is not { Scale: not 0, Low: 0, High: 255 } || !HasRoom) return false;
        if (!Sum.IsNone) return Sum.OwnFirst && LdResidual == Ldy;
        bool small = First.Scale != 0 && LdResidual == 0 && Activation == Activation.None;
        for (int o = 0; o < outputs; o++) small &= MathF.Abs(Scale[o]) < 1;
        return small;
    }

    /// <summary>What a tile wants to know of it.</summary>
    public readonly void Write(ConvTile.CodeNumbers* numbers)
    {
        for (int i = 0; i < ConvTile.Lanes; i++) numbers->Order[i] = (i % 4 * 4) + (i / 4);
        numbers->Zero = Step.Zero * 0x00010001;
        (numbers->Least, numbers->Most) = Limits(Mid);
        (numbers->Rounder, numbers->Back) = (CodeRange.Rounder, CodeRange.Rounder - Mid.Zero);
        (numbers->Own, numbers->Other, numbers->Fixed) = (Sum.Own, Sum.Other, Sum.Fixed);
    }

    /// <summary>Asks for what will be added to some pixels, while their sums are made.</summary>
    public readonly void Fetch(nint pixel, int rows, int output)
    {
        if (!Sse.IsSupported || ResidualCodes == null) return;
        byte* added = ResidualCodes + (pixel * LdResidual) + output;
        for (; rows > 0; rows--, added += LdResidual) Sse.Prefetch0(added);
    }

    /// <summary>Finishes <paramref name="rows"/> pixels from <paramref name="pixel"/> on, by <paramref name="columns"/> outputs
    /// from <paramref name="output"/> on.</summary>
    /// <param name="sums">[rows, 32], <paramref name="ldSums"/> apart.</param>
    public readonly void Finish(int* sums, int ldSums, nint pixel, int rows, int output, int columns)
    {
        if (rows == 0) return;
        int whole = Codes != null && HasRoom ? Blocking.RoundUp(columns, ConvTile.Lanes) : columns;
        if (Hardware.Has512) Finish<Simd512, Vector512<float>>(sums, ldSums, pixel, rows, output, whole);
        else if (Hardware.Has256) Finish<Simd256, Vector256<float>>(sums, ldSums, pixel, rows, output, whole);
        else Finish<Simd128, Vector128<float>>(sums, ldSums, pixel, rows, output, whole);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private readonly void Finish<S, V>(int* sums, int ldSums, nint pixel, int rows, int output, int columns)
        where S : ISimd<V> where V : struct
    {
        if (OnlyRounds)
        {
            OnlyCodes<S, V>(sums, ldSums, Codes + (pixel * Ldy) + output, rows, Scale + output, columns);
            return;
        }

        if (!Sum.IsNone)
        {
            Sums<S, V>(sums, ldSums, Codes + (pixel * Ldy) + output, ResidualCodes + (pixel * LdResidual) + output, rows,
                Scale + output, columns);
            return;
        }

        for (; rows > 0; rows--, sums += ldSums, pixel++)
        {
            int c = 0;
            for (; c <= columns - S.Width; c += S.Width)
                Store<S, V>(Value<S, V>(S.LoadInts(sums + c), pixel, output + c), pixel, output + c);
            for (; c < columns; c++)
                Store<Scalar, float>(Value<Scalar, float>(Scalar.LoadInts(sums + c), pixel, output + c), pixel, output + c);
        }
    }

    // Nothing between the sums and the codes: the common case.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void OnlyCodes<S, V>(int* sums, int ldSums, byte* to, int rows, float* scale, int columns)
        where S : ISimd<V> where V : struct
    {
        nint ldy = Ldy;
        var (low, high) = Limits(Step);
        var vectors = new CodeRounding<S, V>(low, high, Step.Zero);
        var single = new CodeRounding<Scalar, float>(low, high, Step.Zero);
        for (; rows > 0; rows--, sums += ldSums, to += ldy)
        {
            int c = 0;
            for (; c <= columns - S.Width; c += S.Width)
                vectors.Store(S.Mul(S.LoadInts(sums + c), S.Load(scale + c)), to + c);
            for (; c < columns; c++) single.Store(Scalar.LoadInts(sums + c) * scale[c], to + c);
        }
    }

    // Rounded, added to codes, and rounded again: the end of a residual block.
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void Sums<S, V>(int* sums, int ldSums, byte* to, byte* added, int rows, float* scale, int columns)
        where S : ISimd<V> where V : struct
    {
        nint ldy = Ldy, ldAdded = LdResidual;
        for (; rows > 0; rows--, sums += ldSums, to += ldy, added += ldAdded)
        {
            int c = 0;
            for (; c <= columns - S.Width; c += S.Width) S.StoreLowBytes(Added<S, V>(sums + c, scale + c, added + c), to + c);
            for (; c < columns; c++) Scalar.StoreLowBytes(Added<Scalar, float>(sums + c, scale + c, added + c), to + c);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly V Added<S, V>(int* sum, float* scale, byte* added) where S : ISimd<V> where V : struct
    {
        var (least, most) = Limits(Mid);
        V rounder = S.Set(CodeRange.Rounder), v = S.Mul(S.LoadInts(sum), S.Load(scale));
        v = S.Sub(S.Add(S.Min(S.Max(v, S.Set(least)), S.Set(most)), rounder), S.Set(CodeRange.Rounder - Mid.Zero));
        v = Sum.Run<S, V>(v, S.LoadBytes(added));
        return S.Add(S.Min(S.Max(v, S.Set(Step.Low)), S.Set(Step.High)), rounder);
    }

    /// <summary>Where sums are cut before they are rounded, from 0 on: at the ends of the codes, or nearer by the activation.</summary>
    public readonly (float Least, float Most) Limits(CodeStep step) => Activation == Activation.None ? (step.Least, step.Most)
        : (Math.Max(0, step.Least), Activation == Activation.Relu6 ? Math.Min(6 / step.Scale, step.Most) : step.Most);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly V Value<S, V>(V sum, nint pixel, int output) where S : ISimd<V> where V : struct
    {
        V v = S.Mul(sum, S.Load(Scale + output));
        if (First.Scale != 0)
        {
            var (least, most) = Limits(Mid);
            v = S.Mul(Rounded<S, V>(v, S.Set(least), S.Set(most)), S.Set(Mid.Scale));
        }
        else
        {
            v = Activations.Of<S, V>(Activation, v);
            if (Mid.Scale != 0)
                v = S.Mul(Rounded<S, V>(S.Mul(v, S.Set(Mid.Inverse)), S.Set(Mid.Least), S.Set(Mid.Most)), S.Set(Mid.Scale));
        }

        if (ResidualCodes != null)
        {
            V r = S.Sub(S.LoadBytes(ResidualCodes + (pixel * LdResidual) + output), S.Set(ResidualStep.Zero));
            v = S.Add(v, S.Mul(r, S.Set(ResidualStep.Scale)));
        }
        else if (ResidualFloats != null) v = S.Add(v, S.Load(ResidualFloats + (pixel * LdResidual) + output));
        return Activations.Of<S, V>(After, v);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void Store<S, V>(V v, nint pixel, int output) where S : ISimd<V> where V : struct
    {
        if (Codes == null)
        {
            S.Store(v, Floats + (pixel * Ldy) + output);
            return;
        }

        V code = Rounded<S, V>(S.Mul(v, S.Set(Step.Inverse)), S.Set(Step.Least), S.Set(Step.Most));
        S.StoreBytes(S.Add(code, S.Set(Step.Zero)), Codes + (pixel * Ldy) + output);
    }

    /// <summary>The code less the zero point, from a number in steps.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static V Rounded<S, V>(V v, V least, V most) where S : ISimd<V> where V : struct
    {
        v = S.Min(S.Max(v, least), most);
        return S.Sub(S.Add(v, S.Set(CodeRange.Rounder)), S.Set(CodeRange.Rounder));
    }
}
