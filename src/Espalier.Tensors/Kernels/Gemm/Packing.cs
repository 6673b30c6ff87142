using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.Arm;
using System.Runtime.Intrinsics.X86;

namespace Espalier.Tensors.Kernels;

/// <summary>Copies strips of a matrix into panels: for each step of K the values of all the strip's lines (rows of A, columns of
/// B) side by side, so that a tile reads straight ahead. Missing lines are zero. The
/// loops skip tiering, as the tiles do: a process that runs one picture would otherwise run them unoptimised.</summary>
internal static unsafe class Packing
{
    /// <summary>Packs one panel.</summary>
    /// <param name="source">Its first value. One of the two strides is 1.</param>
    /// <param name="lineStride">Distance between lines in the source.</param>
    /// <param name="stepStride">Distance between steps in the source.</param>
    /// <param name="lines">Lines there are.</param>
    /// <param name="width">Lines of the panel: at least <paramref name="lines"/>.</param>
    /// <param name="steps">Steps of K.</param>
    /// <param name="panel">[steps, width]</param>
    public static void Panel(float* source, nint lineStride, nint stepStride, int lines, int width, nint steps, float* panel)
    {
        if (lines < width)
        {
            new Span<float>(panel, checked((int)(steps * width))).Clear();
        }

        if (lineStride != 1)
        {
            Transpose(source, lineStride, lines, width, steps, panel);
        }
        else if (lines == 32 && width == 32)
        {
            Copy32(source, stepStride, steps, panel);
        }
        else
        {
            Copy(source, stepStride, lines, width, steps, panel);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Copy32(float* source, nint stepStride, nint steps, float* panel)
    {
        for (; steps > 0; steps--)
        {
            Vector512<float> x = Vector512.Load(source);
            Vector512<float> y = Vector512.Load(source + 16);
            x.Store(panel);
            y.Store(panel + 16);
            source += stepStride;
            panel += 32;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Copy(float* source, nint stepStride, int lines, int width, nint steps, float* panel)
    {
        for (; steps > 0; steps--)
        {
            int i = 0;
            for (; i <= lines - 4; i += 4)
            {
                Vector128.Load(source + i).Store(panel + i);
            }

            for (; i < lines; i++)
            {
                panel[i] = source[i];
            }

            source += stepStride;
            panel += width;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Transpose(float* source, nint lineStride, int lines, int width, nint steps, float* panel)
    {
        int i = 0;
        for (; i <= lines - 4; i += 4)
        {
            float* s = source + (i * lineStride);
            float* t = panel + i;
            nint p = 0;
            for (; p <= steps - 4; p += 4)
            {
                Transpose4(s + p, lineStride, t + (p * width), width);
            }

            for (; p < steps; p++)
            {
                for (int line = 0; line < 4; line++)
                {
                    t[(p * width) + line] = s[(line * lineStride) + p];
                }
            }
        }

        for (; i < lines; i++)
        {
            for (nint p = 0; p < steps; p++)
            {
                panel[(p * width) + i] = source[(i * lineStride) + p];
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Transpose4(float* s, nint stride, float* t, nint width)
    {
        Vector128<float> a = Vector128.Load(s);
        Vector128<float> b = Vector128.Load(s + stride);
        Vector128<float> c = Vector128.Load(s + (2 * stride));
        Vector128<float> d = Vector128.Load(s + (3 * stride));
        Vector128<float> ac0 = Low(a, c);
        Vector128<float> bd0 = Low(b, d);
        Vector128<float> ac1 = High(a, c);
        Vector128<float> bd1 = High(b, d);
        Low(ac0, bd0).Store(t);
        High(ac0, bd0).Store(t + width);
        Low(ac1, bd1).Store(t + (2 * width));
        High(ac1, bd1).Store(t + (3 * width));
    }

    // x0 y0 x1 y1
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> Low(Vector128<float> x, Vector128<float> y) =>
        Sse.IsSupported ? Sse.UnpackLow(x, y)
        : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipLow(x, y)
        : Vector128.Create(x[0], y[0], x[1], y[1]);

    // x2 y2 x3 y3
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<float> High(Vector128<float> x, Vector128<float> y) =>
        Sse.IsSupported ? Sse.UnpackHigh(x, y)
        : AdvSimd.Arm64.IsSupported ? AdvSimd.Arm64.ZipHigh(x, y)
        : Vector128.Create(x[2], y[2], x[3], y[3]);
}
