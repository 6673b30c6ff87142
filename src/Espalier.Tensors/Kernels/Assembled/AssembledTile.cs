using System.Runtime.InteropServices;

namespace Espalier.Tensors.Kernels;

/// <summary>A <see cref="DotTile"/> of machine code that is assembled once, at first use: one function for each number of rows,
/// so that no row is ever padded.</summary>
internal sealed unsafe class AssembledTile : DotTile
{
    private readonly delegate* unmanaged[SuppressGCTransition]<Arguments*, void>[] functions;

    private AssembledTile(string name, byte* page, int[] offsets)
        : base(name, AssembledDot.MaxRows, AssembledDot.Columns)
    {
        functions = new delegate* unmanaged[SuppressGCTransition]<Arguments*, void>[MaxRows + 1];
        for (int rows = 1; rows <= MaxRows; rows++)
        {
            functions[rows] = (delegate* unmanaged[SuppressGCTransition]<Arguments*, void>)(page + offsets[rows]);
        }
    }

    /// <summary>Assembles the functions; null where the system allows no code, with the reason. Whether the processor has the
    /// instruction is for the caller to know.</summary>
    public static AssembledTile? TryCreate(string name, DotInstruction instruction, out string? refusal)
    {
        int[] offsets = new int[AssembledDot.MaxRows + 1];
        using var code = new MemoryStream();
        for (int rows = 1; rows <= AssembledDot.MaxRows; rows++)
        {
            offsets[rows] = (int)code.Length;
            code.Write(AssembledDot.Assemble(instruction, rows, OperatingSystem.IsWindows()));
        }

        byte* page = ExecutablePage.Create(code.ToArray(), out refusal);
        return page == null ? null : new AssembledTile(name, page, offsets);
    }

    /// <inheritdoc/>
    public override int Height(int rows)
    {
        // Even heights: 14 rows make two tiles of 7 rather than one of 12 and one of 2, which would run slower.
        int tiles = (rows + MaxRows - 1) / MaxRows;
        return (rows + tiles - 1) / tiles;
    }

    /// <inheritdoc/>
    public override void Run(int height, nint groups, byte* a, byte* b, void* start, void* sums)
    {
        var arguments = new Arguments { Rounds = groups / GroupMultiple, A = a, B = b, Start = start, Sums = sums };
        functions[height](&arguments);
    }

    /// <summary>Where the function for so many rows lies.</summary>
    internal nint Address(int rows) => (nint)functions[rows];

    /// <summary>What a function gets, behind one pointer: so both calling conventions differ in one register only.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct Arguments
    {
        public nint Rounds;
        public byte* A;
        public byte* B;
        public void* Start;
        public void* Sums;
    }
}
