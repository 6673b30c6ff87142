using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

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
            Transposition.Run(source, lineStride, panel, width, lines, steps, accumulate: false);
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
}
