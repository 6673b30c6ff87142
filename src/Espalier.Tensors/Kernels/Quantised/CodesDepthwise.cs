using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Espalier.Tensors.Threading;

namespace Espalier.Tensors.Kernels;

/// <summary>A <see cref="CodesConv"/> of each channel by itself. Codes are widened to floats as they are read, which hold the
/// sums of so few products exactly, so that no instruction for bytes is needed. Lines are copied with the padding around them:
/// there are no borders then, and neighbouring pixels share what they read.</summary>
internal sealed unsafe class CodesDepthwise : CodesConv
{
    /// <summary>Taps whose sums floats hold exactly: 255 · 127 times this is below 2^24.</summary>
    public const int MostTaps = 512;

    private const int Together = 8, Three = 3, Four = 4;

    private readonly NativeFloats weights, start;
    private readonly int room;

    public CodesDepthwise(int channels, sbyte* weight, int* bias, int zero, in ConvShape shape)
        : base(channels, channels, zero, shape)
    {
        room = Blocking.RoundUp(channels, ConvTile.Lanes);
        int taps = shape.Taps;
        weights = new NativeFloats((nint)room * taps);
        start = new NativeFloats(room);
        for (int c = 0; c < channels; c++)
        {
            for (int t = 0; t < taps; t++) weights.Data[((nint)t * room) + c] = weight[(c * taps) + t];
            start.Data[c] = Start(weight + ((nint)c * taps), taps, bias[c], zero);
        }
    }

    public override long Bytes => 4 * (weights.Length + start.Length);

    public override void Run(int images, int height, int width, byte* x, int ldx, in CodesEpilogue epilogue)
    {
        Window window = Shape.Over(height, width);
        if (window.OutArea == 0) return;
        int lines = images * window.OutHeight, grain = Grain.For((long)window.OutWidth * Channels);
        if (Hardware.Has512) Workers.For(lines, grain, new Job<Simd512, Vector512<float>>(this, window, x, ldx, epilogue));
        else if (Hardware.Has256) Workers.For(lines, grain, new Job<Simd256, Vector256<float>>(this, window, x, ldx, epilogue));
        else Workers.For(lines, grain, new Job<Simd128, Vector128<float>>(this, window, x, ldx, epilogue));
        GC.KeepAlive(this);
    }

    public override void Dispose()
    {
        weights.Dispose();
        start.Dispose();
    }

    private readonly struct Job<S, V>(CodesDepthwise conv, Window window, byte* x, int ldx, CodesEpilogue epilogue) : IRangeJob
        where S : ISimd<V> where V : struct
    {
        // Pixels of a copied line: those that whole blocks of results see.
        private int Width => ((Blocking.RoundUp(window.OutWidth, Together) - 1) * window.Stride.Columns)
            + ((window.KernelWidth - 1) * window.Dilation) + 1;

        public void Run(int first, int end, int worker)
        {
            int kernel = window.KernelHeight;
            nint lineBytes = Blocking.RoundUp(checked(Width * ldx) + ConvTile.AheadBytes, ConvTile.AheadBytes);
            byte* copy = (byte*)Scratch.Rent((kernel * lineBytes / sizeof(float)) + (Together * ConvTile.Lanes));
            int* sums = (int*)(copy + (kernel * lineBytes));
            nint* lines = stackalloc nint[kernel];
            int* held = stackalloc int[kernel];
            int image = -1;
            for (int line = first; line < end; line++)
            {
                int row = line % window.OutHeight;
                if (line / window.OutHeight != image)
                {
                    image = line / window.OutHeight;
                    new Span<int>(held, kernel).Fill(int.MinValue);
                }

                for (int ky = 0; ky < kernel; ky++)
                {
                    // Without dilation the lines of a kernel are neighbours, and most are there from the row before.
                    int y = window.Row(row, ky), slot = window.Dilation == 1 ? (y + (kernel * window.Height)) % kernel : ky;
                    byte* to = copy + (slot * lineBytes);
                    lines[ky] = (nint)to;
                    if (held[slot] == y) continue;
                    held[slot] = y;
                    CopyLine(image, y, to);
                }

                Line(line, lines, sums);
            }
        }

        private void CopyLine(int image, int y, byte* to)
        {
            int width = Width, left = Math.Min(window.Padding.Left, width), there = Math.Min(window.Width, width - left);
            if ((uint)y >= (uint)window.Height)
            {
                NativeMemory.Fill(to, (nuint)((nint)width * ldx), (byte)conv.Zero);
                return;
            }

            byte* from = x + ((((nint)image * window.Height) + y) * window.Width * ldx);
            NativeMemory.Fill(to, (nuint)((nint)left * ldx), (byte)conv.Zero);
            NativeMemory.Copy(from, to + ((nint)left * ldx), (nuint)((nint)there * ldx));
            NativeMemory.Fill(to + ((nint)(left + there) * ldx), (nuint)((nint)(width - left - there) * ldx), (byte)conv.Zero);
        }

        private void Line(int line, nint* lines, int* sums)
        {
            nint pixel = (nint)line * window.OutWidth, stride = (nint)window.Stride.Columns * ldx;
            if (window is { Dilation: 1, KernelWidth: Three, Stride.Columns: 1 or 2 } && epilogue.OnlyRounds && epilogue.HasRoom)
            {
                if (window.Stride.Columns == 1) Neighbours(lines, pixel);
                else Apart(lines, pixel);
                return;
            }

            for (int column = 0; column < window.OutWidth; column += Four)
            {
                int count = Math.Min(Four, window.OutWidth - column);
                for (int c = 0; c < conv.Channels; c += ConvTile.Lanes)
                {
                    for (int lane = 0; lane < ConvTile.Lanes; lane += S.Width)
                        FourPixels(lines, column * stride, c + lane, sums + lane);
                    epilogue.Finish(sums, ConvTile.Lanes, pixel + column, count, c, Math.Min(ConvTile.Lanes, conv.Channels - c));
                }
            }
        }

        // A kernel three wide: ten columns are read for eight pixels, and their sums become codes in registers.
        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private void Neighbours(nint* lines, nint pixel)
        {
            var (least, most) = epilogue.Limits(epilogue.Step);
            var rounding = new CodeRounding<S, V>(least, most, epilogue.Step.Zero);
            nint room = conv.room, step = ldx, ldy = epilogue.Ldy;
            int height = window.KernelHeight, width = window.OutWidth, channels = conv.Channels;
            for (int c = 0; c < channels; c += S.Width)
            {
                V scale = S.Load(epilogue.Scale + c), start = S.Load(conv.start.Data + c);
                byte* to = epilogue.Codes + (pixel * ldy) + c;
                nint offset = c;
                for (int left = width; left > 0; left -= Together, to += Together * ldy, offset += Together * step)
                {
                    V a0 = start, a1 = start, a2 = start, a3 = start, a4 = start, a5 = start, a6 = start, a7 = start;
                    float* w = conv.weights.Data + c;
                    for (int ky = 0; ky < height; ky++, w += Three * room)
                    {
                        byte* line = (byte*)lines[ky] + offset;
                        V w0 = S.Load(w), w1 = S.Load(w + room), w2 = S.Load(w + (2 * room));
                        V x0 = S.LoadBytes(line), x1 = S.LoadBytes(line + step), x2 = S.LoadBytes(line + (2 * step));
                        a0 = S.Fma(x2, w2, S.Fma(x1, w1, S.Fma(x0, w0, a0)));
                        x0 = S.LoadBytes(line + (3 * step));
                        a1 = S.Fma(x0, w2, S.Fma(x2, w1, S.Fma(x1, w0, a1)));
                        x1 = S.LoadBytes(line + (4 * step));
                        a2 = S.Fma(x1, w2, S.Fma(x0, w1, S.Fma(x2, w0, a2)));
                        x2 = S.LoadBytes(line + (5 * step));
                        a3 = S.Fma(x2, w2, S.Fma(x1, w1, S.Fma(x0, w0, a3)));
                        x0 = S.LoadBytes(line + (6 * step));
                        a4 = S.Fma(x0, w2, S.Fma(x2, w1, S.Fma(x1, w0, a4)));
                        x1 = S.LoadBytes(line + (7 * step));
                        a5 = S.Fma(x1, w2, S.Fma(x0, w1, S.Fma(x2, w0, a5)));
                        x2 = S.LoadBytes(line + (8 * step));
                        a6 = S.Fma(x2, w2, S.Fma(x1, w1, S.Fma(x0, w0, a6)));
                        x0 = S.LoadBytes(line + (9 * step));
                        a7 = S.Fma(x0, w2, S.Fma(x2, w1, S.Fma(x1, w0, a7)));
                    }

                    Store(rounding, scale, a0, a1, a2, a3, a4, a5, a6, a7, to, ldy, left);
                }
            }
        }

        // The same with every second pixel: of seventeen columns.
        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private void Apart(nint* lines, nint pixel)
        {
            var (least, most) = epilogue.Limits(epilogue.Step);
            var rounding = new CodeRounding<S, V>(least, most, epilogue.Step.Zero);
            nint room = conv.room, step = ldx, ldy = epilogue.Ldy;
            int height = window.KernelHeight, width = window.OutWidth, channels = conv.Channels;
            for (int c = 0; c < channels; c += S.Width)
            {
                V scale = S.Load(epilogue.Scale + c), start = S.Load(conv.start.Data + c);
                byte* to = epilogue.Codes + (pixel * ldy) + c;
                nint offset = c;
                for (int left = width; left > 0; left -= Together, to += Together * ldy, offset += 2 * Together * step)
                {
                    V a0 = start, a1 = start, a2 = start, a3 = start, a4 = start, a5 = start, a6 = start, a7 = start;
                    float* w = conv.weights.Data + c;
                    for (int ky = 0; ky < height; ky++, w += Three * room)
                    {
                        byte* line = (byte*)lines[ky] + offset;
                        V w0 = S.Load(w), w1 = S.Load(w + room), w2 = S.Load(w + (2 * room)), last = S.LoadBytes(line);
                        a0 = AddThree(a0, w0, w1, w2, ref last, line, step);
                        a1 = AddThree(a1, w0, w1, w2, ref last, line + (2 * step), step);
                        a2 = AddThree(a2, w0, w1, w2, ref last, line + (4 * step), step);
                        a3 = AddThree(a3, w0, w1, w2, ref last, line + (6 * step), step);
                        a4 = AddThree(a4, w0, w1, w2, ref last, line + (8 * step), step);
                        a5 = AddThree(a5, w0, w1, w2, ref last, line + (10 * step), step);
                        a6 = AddThree(a6, w0, w1, w2, ref last, line + (12 * step), step);
                        a7 = AddThree(a7, w0, w1, w2, ref last, line + (14 * step), step);
                    }

                    Store(rounding, scale, a0, a1, a2, a3, a4, a5, a6, a7, to, ldy, left);
                }
            }
        }

        // A sum with three more products; the last pixel is the next sum's first.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static V AddThree(V sum, V w0, V w1, V w2, ref V last, byte* line, nint step)
        {
            sum = S.Fma(last, w0, sum);
            sum = S.Fma(S.LoadBytes(line + step), w1, sum);
            last = S.LoadBytes(line + (2 * step));
            return S.Fma(last, w2, sum);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Store(CodeRounding<S, V> rounding, V scale, V a0, V a1, V a2, V a3, V a4, V a5, V a6, V a7, byte* to,
            nint ldy, int count)
        {
            rounding.Store(S.Mul(a0, scale), to);
            if (count > 1) rounding.Store(S.Mul(a1, scale), to + ldy);
            if (count > 2) rounding.Store(S.Mul(a2, scale), to + (2 * ldy));
            if (count > 3) rounding.Store(S.Mul(a3, scale), to + (3 * ldy));
            if (count > 4) rounding.Store(S.Mul(a4, scale), to + (4 * ldy));
            if (count > 5) rounding.Store(S.Mul(a5, scale), to + (5 * ldy));
            if (count > 6) rounding.Store(S.Mul(a6, scale), to + (6 * ldy));
            if (count > 7) rounding.Store(S.Mul(a7, scale), to + (7 * ldy));
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
        private void FourPixels(nint* lines, nint offset, int c, int* sums)
        {
            nint room = conv.room, tap = (nint)window.Dilation * ldx, step = (nint)window.Stride.Columns * ldx;
            V a0 = S.Load(conv.start.Data + c), a1 = a0, a2 = a0, a3 = a0;
            float* w = conv.weights.Data + c;
            for (int ky = 0; ky < window.KernelHeight; ky++)
            {
                byte* from = (byte*)lines[ky] + offset + c;
                for (int kx = 0; kx < window.KernelWidth; kx++, w += room, from += tap)
                {
                    V weight = S.Load(w);
                    a0 = S.Fma(S.LoadBytes(from), weight, a0);
                    a1 = S.Fma(S.LoadBytes(from + step), weight, a1);
                    a2 = S.Fma(S.LoadBytes(from + (2 * step)), weight, a2);
                    a3 = S.Fma(S.LoadBytes(from + (3 * step)), weight, a3);
                }
            }

            S.StoreInts(a0, sums);
            S.StoreInts(a1, sums + ConvTile.Lanes);
            S.StoreInts(a2, sums + (2 * ConvTile.Lanes));
            S.StoreInts(a3, sums + (3 * ConvTile.Lanes));
        }
    }
}
