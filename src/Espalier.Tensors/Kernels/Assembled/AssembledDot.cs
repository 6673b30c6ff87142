using Iced.Intel;
using static Espalier.Tensors.Kernels.AssembledFrame;
using static Iced.Intel.AssemblerRegisters;

namespace Espalier.Tensors.Kernels;

/// <summary>What multiplies and adds a group of 4 bytes in each of 16 lanes.</summary>
internal enum DotInstruction
{
    /// <summary>VPDPBUSD: 4 unsigned by 4 signed bytes, added to an int32 that wraps around.</summary>
    Int8,

    /// <summary>VDPBF16PS: 2 by 2 bfloat16, added to a float; subnormals count as zero.</summary>
    Bf16,
}

/// <summary>Writes the machine code of one tile: <c>rows</c> by 32 sums in registers, two vectors of B and one broadcast group
/// of A for each step, as the float tiles do. The reference is <see cref="Int8TilePortable"/> and
/// <see cref="Bf16TileReference"/>.</summary>
internal static class AssembledDot
{
    /// <summary>Most rows: 2 sums a row, 2 vectors of B and 1 of A in 32 registers would allow 14.</summary>
    public const int MaxRows = 12;

    public const int Columns = 2 * Lanes;

    private const int Lanes = 16;
    private const int Vector = 64;
    private const int Group = 4;

    /// <summary>The code of a function that takes a pointer to <see cref="AssembledTile.Arguments"/>. It does not depend on
    /// where it lies.</summary>
    /// <param name="windows">Whether it obeys the Windows x64 calling convention rather than System V's.</param>
    public static byte[] Assemble(DotInstruction instruction, int rows, bool windows)
    {
        var code = new Assembler(64);
        int saved = Saved((2 * rows) + 3, windows);
        code.mov(rax, windows ? rcx : rdi);
        Save(code, saved);
        code.mov(rcx, __qword_ptr[rax]);
        code.mov(r8, __qword_ptr[rax + 8]);
        code.mov(r9, __qword_ptr[rax + 16]);
        code.mov(r10, __qword_ptr[rax + 24]);
        code.mov(r11, __qword_ptr[rax + 32]);
        for (int sum = 0; sum < 2 * rows; sum++)
        {
            code.vmovups(Registers[3 + sum], __zmmword_ptr[r10 + (sum % 2 * Vector)]);
        }

        Label round = code.CreateLabel();
        Label done = code.CreateLabel();
        code.test(rcx, rcx);
        code.jle(done);
        code.Label(ref round);
        for (int group = 0; group < DotTile.GroupMultiple; group++)
        {
            Step(code, instruction, rows, group);
        }

        code.add(r8, DotTile.GroupMultiple * rows * Group);
        code.add(r9, DotTile.GroupMultiple * 2 * Vector);
        code.dec(rcx);
        code.jne(round);
        code.Label(ref done);
        for (int sum = 0; sum < 2 * rows; sum++)
        {
            code.vmovups(__zmmword_ptr[r11 + (sum * Vector)], Registers[3 + sum]);
        }

        Restore(code, saved);
        code.vzeroupper();
        code.ret();
        return Bytes(code);
    }

    private static void Step(Assembler code, DotInstruction instruction, int rows, int group)
    {
        AssemblerRegisterZMM left = Registers[0], right = Registers[1], a = Registers[2];
        code.vmovups(left, __zmmword_ptr[r9 + (group * 2 * Vector)]);
        code.vmovups(right, __zmmword_ptr[r9 + (((group * 2) + 1) * Vector)]);
        for (int row = 0; row < rows; row++)
        {
            code.vpbroadcastd(a, __dword_ptr[r8 + (((group * rows) + row) * Group)]);
            AssemblerRegisterZMM x = Registers[3 + (2 * row)], y = Registers[4 + (2 * row)];
            if (instruction == DotInstruction.Int8)
            {
                code.vpdpbusd(x, a, left);
                code.vpdpbusd(y, a, right);
            }
            else
            {
                code.vdpbf16ps(x, a, left);
                code.vdpbf16ps(y, a, right);
            }
        }
    }
}
