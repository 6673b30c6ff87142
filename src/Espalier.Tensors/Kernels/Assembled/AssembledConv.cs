using Iced.Intel;
using static Espalier.Tensors.Kernels.AssembledFrame;
using static Iced.Intel.AssemblerRegisters;
using Slot = Espalier.Tensors.Kernels.ConvTile.Slot;

namespace Espalier.Tensors.Kernels;

/// <summary>Writes the machine code of one <see cref="ConvTile"/> function for AVX-512: up to 14 pixels by 32 outputs in
/// registers. 28 sums, two vectors of weights and one broadcast value take 31 of the 32 registers; 14 pixels, because the maps of
/// networks for 224 pixels are 7, 14, 28, 56 and 112 wide, so that no tile hangs over.</summary>
internal static class AssembledConv
{
    /// <summary>Most pixels of a tile.</summary>
    public const int MaxPixels = 14;

    private const int Vector = 64;
    private const int Float = 4;
    private const int Unroll = 4;

    // Both groups of pixels; one, three and five times the distance between pixels; and while multiplying the weights, the steps
    // and stretches that are left, and where the stretches of x begin.
    private static readonly AssemblerRegister64 Group1 = r8, Group2 = r9, Row = r10, Row3 = r11, Row5 = rdx;
    private static readonly AssemblerRegister64 Weights = rcx, Steps = rsi, Stretches = rbx, Offsets = rdi;

    // What the next tile will want, fetched into the second-level cache: a line a step.
    private static readonly AssemblerRegister64 Ahead = r12;

    /// <summary>The code of a function that takes a pointer to <see cref="ConvTile.Arguments"/>. It does not depend on where it
    /// lies.</summary>
    /// <param name="pixels">1 to <see cref="MaxPixels"/>.</param>
    /// <param name="vectors">1 or 2: 16 or 32 outputs.</param>
    /// <param name="codes">Whether a step is 4 bytes without sign of x by 4 with sign of the weights, added to an int32: see
    /// <see cref="DotInstruction.Int8"/>. Sums then begin, go on and are stored, or end as codes.</param>
    /// <param name="windows">Whether it obeys the Windows x64 calling convention rather than System V's.</param>
    public static byte[] Assemble(int pixels, int vectors, bool codes, bool windows)
    {
        var code = new Assembler(64);
        int saved = Saved((pixels * vectors) + (codes ? 4 : 3), windows);
        code.mov(rax, windows ? rcx : rdi);
        code.push(rbx);
        code.push(rsi);
        code.push(rdi);
        code.push(r12);
        Save(code, saved);
        code.mov(ecx, Argument32(Slot.Mask));
        code.kmovw(k1, ecx);
        code.shr(ecx, 16);
        code.kmovw(k2, ecx);
        Begin(code, pixels, vectors, codes);
        Multiply(code, pixels, vectors, codes);
        Label done = code.CreateLabel();
        if (codes) AssembledCodes.Finish(code, pixels, vectors, done);
        else Finish(code, pixels, vectors);
        Store(code, pixels, vectors);
        code.Label(ref done);
        code.nop();
        Restore(code, saved);
        code.pop(r12);
        code.pop(rdi);
        code.pop(rsi);
        code.pop(rbx);
        code.vzeroupper();
        code.ret();
        return Bytes(code);
    }

    // The sums begin with the bias, or with what y holds.
    private static void Begin(Assembler code, int pixels, int vectors, bool codes)
    {
        // All codes of a tile's pixel are in one line, or two.
        int lines = codes ? 1 : vectors;

        Label continued = code.CreateLabel(), done = code.CreateLabel();
        Address(code, Slot.Y, Slot.Y2, Slot.RowY);
        code.test(Argument32(Slot.Modes), (int)ConvTile.Modes.Continue);
        code.jne(continued);
        code.mov(rcx, Argument(Slot.Bias));
        for (int i = 0; i < pixels * vectors; i++)
        {
            code.vmovups(Registers[3 + i], __zmmword_ptr[rcx + (i % vectors * Vector)]);
        }

        for (int i = 0; i < pixels * lines; i++)
        {
            code.prefetchw(__byte_ptr[At(pixels, i / lines, i % lines * Vector)]);
        }

        code.jmp(done);
        code.Label(ref continued);
        for (int i = 0; i < pixels * vectors; i++)
        {
            AssemblerRegisterZMM sum = Registers[3 + i];
            AssemblerMemoryOperand y = __zmmword_ptr[At(pixels, i / vectors, i % vectors * Vector)];
            code.vmovups(i % vectors == 0 ? sum.k1.z : sum.k2.z, y);
        }

        code.Label(ref done);
        FetchResidual(code, pixels, lines);
    }

    private static void FetchResidual(Assembler code, int pixels, int lines)
    {
        Label none = code.CreateLabel();
        code.mov(rcx, Argument(Slot.Residual));
        code.test(rcx, rcx);
        code.je(none);
        Address(code, Slot.Residual, Slot.Residual2, Slot.RowResidual);
        for (int i = 0; i < pixels * lines; i++)
        {
            code.prefetcht0(__byte_ptr[At(pixels, i / lines, i % lines * Vector)]);
        }

        code.Label(ref none);
        code.nop();
    }

    private static void Multiply(Assembler code, int pixels, int vectors, bool codes)
    {
        Label stretch = code.CreateLabel(), round = code.CreateLabel(), rest = code.CreateLabel();
        Label single = code.CreateLabel(), next = code.CreateLabel(), done = code.CreateLabel();
        code.mov(Row, Argument(Slot.RowX));
        Multiples(code);
        code.mov(Weights, Argument(Slot.Weights));
        code.mov(Stretches, Argument(Slot.Stretches));
        code.mov(Offsets, Argument(Slot.Offsets));
        code.mov(Ahead, Argument(Slot.Ahead));
        code.test(Stretches, Stretches);
        code.jle(done);
        code.Label(ref stretch);
        code.mov(Group1, __qword_ptr[Offsets]);
        code.mov(Group2, Group1);
        code.add(Group1, Argument(Slot.X));
        code.add(Group2, Argument(Slot.X2));
        code.add(Offsets, 8);
        code.mov(Steps, Argument(Slot.Steps));
        code.sub(Steps, Unroll);
        code.jl(rest);
        code.Label(ref round);
        for (int step = 0; step < Unroll; step++)
        {
            Step(code, pixels, vectors, codes, step);
            code.prefetcht1(__byte_ptr[Ahead + (step * Vector)]);
        }

        code.add(Ahead, Unroll * Vector);
        Advance(code, vectors, Unroll);
        code.sub(Steps, Unroll);
        code.jge(round);
        code.Label(ref rest);
        code.add(Steps, Unroll);
        code.jle(next);
        code.Label(ref single);
        Step(code, pixels, vectors, codes, 0);
        Advance(code, vectors, 1);
        code.dec(Steps);
        code.jne(single);
        code.Label(ref next);
        code.dec(Stretches);
        code.jne(stretch);
        code.Label(ref done);
        code.nop();
    }

    private static void Step(Assembler code, int pixels, int vectors, bool codes, int step)
    {
        AssemblerRegisterZMM left = Registers[0], right = Registers[1], x = Registers[2];
        code.vmovups(left, __zmmword_ptr[Weights + (step * vectors * Vector)]);
        if (vectors == 2)
        {
            code.vmovups(right, __zmmword_ptr[Weights + ((step * vectors) + 1) * Vector]);
        }

        for (int i = 0; i < pixels; i++)
        {
            if (codes)
            {
                code.vpbroadcastd(x, __dword_ptr[At(pixels, i, step * Float)]);
                code.vpdpbusd(Registers[3 + (vectors * i)], x, left);
                if (vectors == 2) code.vpdpbusd(Registers[4 + (2 * i)], x, right);
                continue;
            }

            if (vectors == 1)
            {
                code.vfmadd231ps(Registers[3 + i], left, __dword_bcst[At(pixels, i, step * Float)]);
                continue;
            }

            code.vbroadcastss(x, __dword_ptr[At(pixels, i, step * Float)]);
            code.vfmadd231ps(Registers[3 + (2 * i)], x, left);
            code.vfmadd231ps(Registers[4 + (2 * i)], x, right);
        }
    }

    private static void Advance(Assembler code, int vectors, int steps)
    {
        code.add(Group1, steps * Float);
        code.add(Group2, steps * Float);
        code.add(Weights, steps * vectors * Vector);
    }

    // What the modes ask for. The second operand of a maximum or minimum is the one that a NaN comes out of.
    private static void Finish(Assembler code, int pixels, int vectors)
    {
        Label noResidual = code.CreateLabel(), noRelu = code.CreateLabel(), noLimit = code.CreateLabel();
        AssemblerRegisterZMM limit = Registers[0];
        int sums = pixels * vectors;
        code.mov(rcx, Argument(Slot.Residual));
        code.test(rcx, rcx);
        code.je(noResidual);
        Address(code, Slot.Residual, Slot.Residual2, Slot.RowResidual);
        for (int i = 0; i < sums; i++)
        {
            AssemblerRegisterZMM sum = Registers[3 + i];
            AssemblerMemoryOperand residual = __zmmword_ptr[At(pixels, i / vectors, i % vectors * Vector)];
            code.vaddps(i % vectors == 0 ? sum.k1 : sum.k2, sum, residual);
        }

        code.Label(ref noResidual);
        code.mov(ecx, Argument32(Slot.Modes));
        code.test(ecx, (int)ConvTile.Modes.Relu);
        code.je(noRelu);
        code.vpxord(limit, limit, limit);
        for (int i = 0; i < sums; i++)
        {
            code.vmaxps(Registers[3 + i], limit, Registers[3 + i]);
        }

        code.Label(ref noRelu);
        code.test(ecx, (int)ConvTile.Modes.Limit);
        code.je(noLimit);
        code.vbroadcastss(limit, Argument32(Slot.Limit));
        for (int i = 0; i < sums; i++)
        {
            code.vminps(Registers[3 + i], limit, Registers[3 + i]);
        }

        code.Label(ref noLimit);
        code.nop();
    }

    private static void Store(Assembler code, int pixels, int vectors)
    {
        Address(code, Slot.Y, Slot.Y2, Slot.RowY);
        for (int i = 0; i < pixels * vectors; i++)
        {
            AssemblerMemoryOperand y = __zmmword_ptr[At(pixels, i / vectors, i % vectors * Vector)];
            code.vmovups(i % vectors == 0 ? y.k1 : y.k2, Registers[3 + i]);
        }
    }

    public static AssemblerMemoryOperand Argument(Slot slot) => __qword_ptr[rax + (8 * (int)slot)];

    public static AssemblerMemoryOperand Argument32(Slot slot) => __dword_ptr[rax + (8 * (int)slot)];

    public static void Address(Assembler code, Slot group1, Slot group2, Slot row)
    {
        code.mov(Group1, Argument(group1));
        code.mov(Group2, Argument(group2));
        code.mov(Row, Argument(row));
        Multiples(code);
    }

    private static void Multiples(Assembler code)
    {
        code.lea(Row3, __[Row + (Row * 2)]);
        code.lea(Row5, __[Row + (Row * 4)]);
    }

    public static AssemblerMemoryOperand At(int pixels, int pixel, int bytes) => At(pixels, pixel, bytes, Group1, Group2);

    /// <summary>A pixel of groups that begin where these registers say.</summary>
    public static AssemblerMemoryOperand At(
        int pixels, int pixel, int bytes, AssemblerRegister64 group1, AssemblerRegister64 group2)
    {
        int first = (pixels + 1) / 2;
        AssemblerRegister64 group = pixel < first ? group1 : group2;
        return (pixel < first ? pixel : pixel - first) switch
        {
            0 => group + bytes,
            1 => group + Row + bytes,
            2 => group + (Row * 2) + bytes,
            3 => group + Row3 + bytes,
            4 => group + (Row * 4) + bytes,
            5 => group + Row5 + bytes,
            _ => group + (Row3 * 2) + bytes,
        };
    }
}
