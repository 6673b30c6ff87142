using System.Runtime.CompilerServices;

namespace Espalier.Tensors.Kernels;

/// <summary>Weights to 8 bits, symmetric about zero, one scale an output channel: w ≈ scale[output] * value.</summary>
internal static unsafe class Int8Weights
{
    /// <summary>Rounds weights [<paramref name="outputs"/>, <paramref name="inputs"/>], row-major without gaps, by the rule of
    /// <see cref="Int8Rows"/>: values from -127 to 127, one scale a row. A row that holds NaN or an infinity gets the scale NaN
    /// and zeros.</summary>
    public static (sbyte[] Values, float[] Scales) Quantise(int outputs, int inputs, float* weights)
    {
        var values = new sbyte[checked(outputs * inputs)];
        float[] scales = new float[outputs];
        fixed (sbyte* target = values)
        {
            for (int i = 0; i < outputs; i++)
            {
                nint row = (nint)i * inputs;
                scales[i] = Int8Rows.Scale(weights + row, inputs);
                Row(weights + row, inputs, float.IsNaN(scales[i]) ? 0f : 1f / scales[i], target + row);
            }
        }

        return (values, scales);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Row(float* x, int count, float inverse, sbyte* target)
    {
        for (int i = 0; i < count; i++)
        {
            // Adding and taking away 1.5 * 2^23 rounds to an integer, ties to even; NaN (from 0 * infinity) goes to 0.
            target[i] = (sbyte)(((x[i] * inverse) + 12582912f) - 12582912f);
        }
    }
}
