namespace Espalier.Tensors;

/// <summary>In which numbers the matrix products of inference are done; everything between them stays float32.</summary>
public enum Precision
{
    /// <summary>IEEE single precision.</summary>
    Fp32,

    /// <summary>Weights and the rows that meet them rounded to bfloat16, sums in float32.</summary>
    Bf16,

    /// <summary>Weights to 8 bits with a scale an output channel, rows to 8 bits with a scale a row, sums in int32.</summary>
    Int8,
}
