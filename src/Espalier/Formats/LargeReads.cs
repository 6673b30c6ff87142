using Espalier.Tensors.Threading;
using Microsoft.Win32.SafeHandles;

namespace Espalier.Formats;

/// <summary>Large parts of files, copied by all threads: what the system holds in memory already comes as fast as processors copy, and
/// memory that is touched for the first time costs each of them.</summary>
internal static unsafe class LargeReads
{
    /// <summary>Bytes from which on a second thread pays.</summary>
    public const int Least = 1 << 21;

    private const int Piece = 1 << 20;

    /// <exception cref="EndOfStreamException">The file ends before.</exception>
    public static void Exactly(SafeFileHandle file, long offset, Span<byte> to)
    {
        fixed (byte* start = to)
            Workers.For((to.Length + Piece - 1) / Piece, 1, new ReadJob(file, offset, start, to.Length));
    }

    private readonly struct ReadJob(SafeFileHandle file, long offset, byte* to, long length) : IRangeJob
    {
        public void Run(int start, int end, int worker)
        {
            long at = (long)start * Piece, until = Math.Min((long)end * Piece, length);
            while (at < until)
            {
                int read = RandomAccess.Read(file, new Span<byte>(to + at, (int)Math.Min(Piece, until - at)), offset + at);
                if (read == 0) throw new EndOfStreamException();
                at += read;
            }
        }
    }
}
