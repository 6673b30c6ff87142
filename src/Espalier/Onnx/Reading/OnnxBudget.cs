namespace Espalier.Onnx;

/// <summary>
/// How many numbers may be worked on while a file is read: some millions, and more where the file itself has many. A length in a
/// damaged file of kilobytes can ask for millions of numbers that no network has a use for, again and again.
/// </summary>
/// <param name="stored">Numbers of all constants in the file.</param>
internal sealed class OnnxBudget(long stored)
{
    /// <summary>What computing a number beforehand costs, of listing one.</summary>
    public const int Computed = 4;

    private long left = (1L << 24) + 4 * Computed * stored;

    /// <exception cref="InvalidDataException">It is more than was left.</exception>
    public void Spend(long numbers)
    {
        if ((left -= numbers) < 0)
            throw new InvalidDataException("it makes far more numbers out of constants than the file has; a length in it is damaged");
    }
}
