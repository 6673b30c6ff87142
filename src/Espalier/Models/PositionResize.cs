using System.Numerics.Tensors;
using Espalier.Tensors;
using Espalier.Tensors.Kernels;

namespace Espalier.Models;

/// <summary>How published ViT code resizes a grid of position embeddings.</summary>
public enum PositionResizeKind
{
    /// <summary>Linear, corners on corners: Google's JAX code and the ports of it, APT's among them.</summary>
    BilinearAlignCorners,

    /// <summary>Cubic (a = -0.75), half-pixel centres: DeiT's and MAE's fine-tuning, Hugging Face.</summary>
    Bicubic,

    /// <summary>Linear, half-pixel centres: timm's reader of Google checkpoints.</summary>
    Bilinear,

    /// <summary>Cubic (a = -0.5) with antialiasing: timm at run time, open_clip, DINOv2 with registers.</summary>
    BicubicAntialias,

    /// <summary>Cubic (a = -0.75), corners on corners: torchvision.</summary>
    BicubicAlignCorners,

    /// <summary>Cubic (a = -0.75), half-pixel centres of a grid that is 0.1 longer: Meta's code of DINOv2.</summary>
    BicubicOffset,
}

/// <summary>Fits the position embedding of a checkpoint to another image size.</summary>
public static class PositionResize
{
    /// <summary>
    /// Keeps the first <paramref name="prefix"/> rows (class token, distillation token) and resizes the others, a square grid
    /// in row-major order, to <paramref name="newGrid"/> x <paramref name="newGrid"/>.
    /// </summary>
    /// <param name="position">[tokens, width], which is also [1, tokens, width].</param>
    /// <returns>[prefix + newGrid², width].</returns>
    /// <exception cref="EspalierException">The rows after the prefix are not a square number.</exception>
    public static float[] Run(
        ReadOnlySpan<float> position, int width, int prefix, int newGrid,
        PositionResizeKind kind = PositionResizeKind.BilinearAlignCorners)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(width, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(prefix);
        ArgumentOutOfRangeException.ThrowIfLessThan(newGrid, 1);
        int tokens = position.Length / width, grid = (int)Math.Round(Math.Sqrt(Math.Max(0, tokens - prefix)));
        if (position.Length % width != 0 || grid < 1 || grid * grid != tokens - prefix)
        {
            throw new EspalierException($"a position embedding of {position.Length} values, {width} wide, with {prefix} rows for "
                + "extra tokens is no square grid: check the number of extra tokens and the width");
        }
        if (grid == newGrid) return position.ToArray();

        ResizeTable table = kind switch
        {
            PositionResizeKind.BilinearAlignCorners => ResizeTable.Create(grid, newGrid, ResizeMode.BilinearAlignCorners),
            PositionResizeKind.Bicubic => ResizeTable.Create(grid, newGrid, ResizeMode.Bicubic),
            PositionResizeKind.Bilinear => ResizeTable.Create(grid, newGrid, ResizeMode.Bilinear),
            PositionResizeKind.BicubicAlignCorners => ResizeTable.Cubic(grid, newGrid, (grid - 1.0) / Math.Max(1, newGrid - 1), 0),
            PositionResizeKind.BicubicOffset when grid / (newGrid + 0.1) is var scale =>
                ResizeTable.Cubic(grid, newGrid, scale, scale / 2 - 0.5),
            PositionResizeKind.BicubicAntialias => ResizeTable.AntialiasedBicubic(grid, newGrid),
            _ => throw new ArgumentOutOfRangeException(nameof(kind)),
        };
        var result = new float[(prefix + newGrid * newGrid) * width];
        position[..(prefix * width)].CopyTo(result);
        Grid(position[(prefix * width)..], table, width, result.AsSpan(prefix * width));
        return result;
    }

    // One axis after the other: [g, g, D] -> [g, G, D] -> [G, G, D].
    private static void Grid(ReadOnlySpan<float> from, ResizeTable table, int width, Span<float> to)
    {
        int before = table.Inputs * width, row = table.Outputs * width;
        var wide = new float[table.Inputs * row];
        for (int y = 0; y < table.Inputs; y++) Axis(from.Slice(y * before, before), table, width, wide.AsSpan(y * row, row));
        Axis(wide, table, row, to);
    }

    // from [inputs, size] -> to [outputs, size], which is zero.
    private static void Axis(ReadOnlySpan<float> from, ResizeTable table, int size, Span<float> to)
    {
        for (int i = 0; i < table.Outputs; i++)
        {
            Span<float> sum = to.Slice(i * size, size);
            for (int t = i * table.Taps; t < (i + 1) * table.Taps; t++)
                TensorPrimitives.MultiplyAdd(from.Slice(table.Index[t] * size, size), table.Weight[t], sum, sum);
        }
    }
}
