using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace Espalier.Tensors.Kernels;

/// <summary>From the sums of one tile to y: scales, bias, GELU and residual in one pass.</summary>
internal unsafe ref struct TileFinish
{
    private readonly float* bias;
    private readonly float* residual;
    private readonly nint ldResidual;
    private readonly bool gelu;
    private readonly float quick;
    private readonly int column;
    private readonly int columns;
    private readonly int width;
    private float* y;
    private int ldy;
    private int row;

    /// <summary>For the tiles of one panel.</summary>
    /// <param name="column">The panel's first column.</param>
    /// <param name="columns">Columns that y has there, of the panel's <paramref name="width"/>.</param>
    /// <param name="bias">[width], filled here.</param>
    public TileFinish(in Epilogue epilogue, int column, int columns, int width, float* bias)
    {
        this.column = column;
        this.columns = columns;
        this.width = width;
        this.bias = bias;
        (gelu, quick) = (epilogue.Gelu, epilogue.Quick);
        residual = epilogue.Residual;
        ldResidual = epilogue.LdResidual;
        var values = new Span<float>(bias, width);
        values.Clear();
        if (epilogue.Bias != null)
        {
            new ReadOnlySpan<float>(epilogue.Bias + column, columns).CopyTo(values);
        }
    }

    /// <summary>Goes to the tile whose first row is <paramref name="row"/>.</summary>
    public void MoveTo(int row, float* y, int ldy)
    {
        this.row = row;
        this.ldy = ldy;
        this.y = y + ((nint)row * ldy) + column;
    }

    /// <summary>Asks for the lines of y before the sums are ready.</summary>
    public readonly void Prefetch(int lines)
    {
        if (Sse.IsSupported)
        {
            for (nint i = 0; i < lines; i++)
            {
                Sse.Prefetch0(y + (i * ldy));
                Sse.Prefetch0(y + (i * ldy) + (width / 2));
            }
        }
    }

    /// <summary>y = gelu(sums * row scale * column scale + bias) + residual, from integers.</summary>
    public readonly void FromInts(int* sums, int lines, float* rowScales, float* columnScales)
    {
        if (Hardware.Has512)
        {
            Tile<Simd512, Vector512<float>>((float*)sums, lines, rowScales, columnScales);
        }
        else if (Hardware.Has256)
        {
            Tile<Simd256, Vector256<float>>((float*)sums, lines, rowScales, columnScales);
        }
        else
        {
            Tile<Scalar, float>((float*)sums, lines, rowScales, columnScales);
        }
    }

    /// <summary>y = gelu(sums + bias) + residual.</summary>
    public readonly void FromFloats(float* sums, int lines)
    {
        if (Hardware.Has512)
        {
            Tile<Simd512, Vector512<float>>(sums, lines, null, null);
        }
        else
        {
            Tile<Scalar, float>(sums, lines, null, null);
        }
    }

    private readonly void Tile<S, V>(float* sums, int lines, float* rowScales, float* columnScales)
        where S : ISimd<V>
        where V : struct
    {
        float* added = residual == null ? null : residual + (row * ldResidual) + column;
        if (columns == width)
        {
            Rows<S, V>(sums, width, lines, rowScales, columnScales, bias, gelu, quick, added, ldResidual, y, ldy);
            return;
        }

        // A panel that hangs over y's edge is finished in place.
        Rows<S, V>(sums, width, lines, rowScales, columnScales, bias, gelu, quick, null, 0, sums, width);
        for (int i = 0; i < lines; i++)
        {
            if (added != null)
            {
                Epilogue.Add(added + (i * ldResidual), sums + (i * width), columns);
            }

            new ReadOnlySpan<float>(sums + (i * width), columns).CopyTo(new Span<float>(y + ((nint)i * ldy), columns));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void Rows<S, V>(
        float* sums, int width, int lines, float* rowScales, float* columnScales, float* bias, bool gelu, float quick,
        float* residual, nint ldResidual, float* y, nint ldy)
        where S : ISimd<V>
        where V : struct
    {
        for (int i = 0; i < lines; i++)
        {
            V rowScale = rowScales == null ? S.Zero : S.Set(rowScales[i]);
            for (int j = 0; j < width; j += S.Width)
            {
                V v = rowScales == null
                    ? S.Add(S.Load(sums + j), S.Load(bias + j))
                    : S.Fma(S.Mul(S.LoadInts((int*)sums + j), S.Load(columnScales + j)), rowScale, S.Load(bias + j));
                if (gelu)
                {
                    v = Normal.Gelu<S, V>(v, quick);
                }

                if (residual != null)
                {
                    v = S.Add(v, S.Load(residual + j));
                }

                S.Store(v, y + j);
            }

            sums += width;
            y += ldy;
            residual = residual == null ? null : residual + ldResidual;
        }
    }
}
