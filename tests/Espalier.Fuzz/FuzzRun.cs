using Espalier.Tensors;
using Espalier.Tensors.Memory;

namespace Espalier.Fuzz;

/// <summary>What a reader did with its damaged files.</summary>
internal sealed class FuzzRun(Reader reader, int mutants)
{
    /// <summary>Limits of one file: bytes of managed memory, and seconds of the processor, of all threads; a reader that is slow once
    /// gets another try, since code may have been compiled meanwhile.</summary>
    public const long MostBytes = 256L << 20;

    public const double MostSeconds = 1;

    private const int Tries = 3, MostNamed = 5;

    private readonly List<string> faults = [];

    public int Refused { get; private set; }

    public int Read { get; private set; }

    public double Slowest { get; private set; }

    public long Largest { get; private set; }

    /// <summary>What should not have been, in one line each.</summary>
    public IReadOnlyList<string> Faults => faults;

    public void Run()
    {
        long pooled = TensorPool.BytesInUse;
        One(Whole(reader.Seeds[0]), -1);
        if (Read != 1) faults.Add($"{reader.Name}: the whole file is refused");
        (Refused, Read, Slowest, Largest) = (0, 0, 0, 0);
        for (int i = 0; i < mutants && faults.Count < MostNamed; i++)
        {
            var rng = new Rng(11, (ulong)i);
            byte[] part = Mutator.Mutant(reader.Seeds[i % reader.Seeds.Length], reader.Seeds[i / reader.Seeds.Length % reader.Seeds.Length], ref rng);
            One(Whole(part), i);
        }
        // What a refused file leaves behind goes with the garbage.
        GC.Collect();
        GC.WaitForPendingFinalizers();
        if (TensorPool.BytesInUse > pooled) faults.Add($"{reader.Name}: {TensorPool.BytesInUse - pooled} bytes of tensors are not given back");
    }

    private byte[] Whole(byte[] part) => reader.Wrap is { } wrap ? wrap(part) : part;

    private void One(byte[] file, int number)
    {
        double seconds = double.MaxValue;
        for (int attempt = 0; attempt < Tries && seconds > MostSeconds; attempt++)
        {
            long before = GC.GetAllocatedBytesForCurrentThread();
            TimeSpan start = Environment.CpuUsage.TotalTime;
            try
            {
                reader.Read(file);
                if (attempt == 0) Read++;
            }
            catch (EspalierException e)
            {
                if (attempt == 0) Refused++;
                if (e.Message.AsSpan().ContainsAny('\n', '\u001b')) faults.Add($"{reader.Name} {number}: not one clean line");
            }
            catch (Exception e)
            {
                faults.Add($"{reader.Name} {number}: {e.GetType().Name}: {e.Message.ReplaceLineEndings(" ")}{Environment.NewLine}{e.StackTrace}");
                return;
            }
            seconds = Math.Min(seconds, (Environment.CpuUsage.TotalTime - start).TotalSeconds);
            long taken = GC.GetAllocatedBytesForCurrentThread() - before;
            Largest = Math.Max(Largest, taken);
            if (taken > MostBytes) faults.Add($"{reader.Name} {number}: {taken >> 20} MB for {file.Length} bytes");
        }
        Slowest = Math.Max(Slowest, seconds);
        if (seconds > MostSeconds) faults.Add($"{reader.Name} {number}: {seconds:0.0} s for {file.Length} bytes");
    }
}
