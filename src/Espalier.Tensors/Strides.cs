namespace Espalier.Tensors;

/// <summary>How many rows and columns a kernel moves on from one result to the next.</summary>
public readonly record struct Strides(int Rows, int Columns)
{
    /// <summary>The same of both.</summary>
    public static implicit operator Strides(int both) => new(both, both);

    public override string ToString() => Rows == Columns ? $"{Rows}" : $"{Rows}x{Columns}";
}
