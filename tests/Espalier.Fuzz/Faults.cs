using System.Diagnostics;
using Espalier.Data;
using Espalier.Formats;
using Espalier.Imaging;
using Espalier.Inference;
using Espalier.Tensors;
using Espalier.Tensors.Memory;
using Espalier.Training;

namespace Espalier.Fuzz;

/// <summary>What happens to runs and files when processes, disks and people do not wait for their end.</summary>
internal static class Faults
{
    private const int Steps = 6;

    /// <summary>Names, and what carries one out so many times.</summary>
    public static IEnumerable<(string Name, Func<int, (int Times, string Outcome, bool Good)> Run)> All(string folder)
    {
        yield return ("a training process is killed", times => Kills(folder, Math.Max(times / 5, 2)));
        yield return ("a disk is full while a file is replaced", times => FullDisk(folder, times));
        yield return ("a training is stopped anywhere in a step, and resumed", times => Resumes(folder, times));
        yield return ("four threads run one model at once", times => Threads(times));
        yield return ("passes of one session", times => Leaks(times * 1000));
    }

    private static (int, string, bool) Kills(string folder, int times)
    {
        string runs = Path.Combine(folder, "kills");
        long reached = 0;
        int broken = 0, back = 0;
        for (int i = 0; i < times; i++)
        {
            string[] arguments = [Path.Combine(AppContext.BaseDirectory, "espalier.dll"), "train", "--data", "fashion-mnist-sample",
                "--model-type", "resnet20", "--width", "0.1", "--img-size", "16", "--train-batch-size", "4", "--num-steps", "1000000", "--checkpoint-every", "2",
                "--eval-every", "0", "--output-dir", runs, "--name", "run", "--threads", "1", "--resume"];
            using Process child = Process.Start(new ProcessStartInfo("dotnet", arguments) { RedirectStandardOutput = true })!;
            string state = Path.Combine(runs, "run.state");
            DateTime before = File.Exists(state) ? File.GetLastWriteTimeUtc(state) : default;
            while (!child.HasExited && (!File.Exists(state) || File.GetLastWriteTimeUtc(state) == before)) Thread.Sleep(5);
            Thread.Sleep(new Random(i).Next(120));
            child.Kill();
            child.WaitForExit();
            try
            {
                foreach (string file in Directory.GetFiles(runs, "*.safetensors")) Model.Open(file).Dispose();
                using SafetensorsReader saved = SafetensorsReader.Open(state);
                long step = new StateReader(saved).ReadLong("step");
                if (step < reached) back++;
                reached = step;
            }
            catch (EspalierException)
            {
                broken++;
            }
        }
        return (times, $"{broken} files do not load, {back} runs went back; step {reached} in the end", broken + back == 0 && reached > 0);
    }

    private static (int, string, bool) FullDisk(string folder, int times)
    {
        string place = Directory.CreateDirectory(Path.Combine(folder, "disk")).FullName, file = Path.Combine(place, "model.safetensors");
        byte[] old = [1, 2, 3];
        File.WriteAllBytes(file, old);
        int lost = 0;
        for (int i = 0; i < times; i++)
        {
            byte[] some = new byte[1 + new Random(i).Next(300_000)];
            try
            {
                AtomicFile.Write(file, stream =>
                {
                    stream.Write(some);
                    throw new IOException("No space left on device");
                });
                lost++;
            }
            catch (EspalierException)
            {
                if (!File.ReadAllBytes(file).AsSpan().SequenceEqual(old) || Directory.GetFiles(place).Length != 1) lost++;
            }
        }
        return (times, $"{lost} files lost or left over", lost == 0);
    }

    private static (int, string, bool) Resumes(string folder, int times)
    {
        string runs = Path.Combine(folder, "resumes");
        byte[] Whole() => File.ReadAllBytes(Path.Combine(runs, "whole.safetensors"));
        Train("whole", resume: false, CancellationToken.None);
        var clock = Stopwatch.StartNew();
        Train("whole", resume: false, CancellationToken.None);
        TimeSpan whole = clock.Elapsed;
        int different = 0, stopped = 0;
        for (int i = 0; i < times; i++)
        {
            var random = new Random(i);
            bool done = false;
            for (int part = 0; !done; part++)
            {
                using var cancel = new CancellationTokenSource();
                // The last part is left to end, whatever the machine does beside.
                if (part < 4) cancel.CancelAfter(whole * random.NextDouble());
                done = Train("parts", part > 0, cancel.Token);
                if (!done) stopped++;
            }
            if (!File.ReadAllBytes(Path.Combine(runs, "parts.safetensors")).AsSpan().SequenceEqual(Whole())) different++;
        }
        return (times, $"stopped {stopped} times; {different} end otherwise than a run that was not", different == 0 && stopped > 0);

        bool Train(string name, bool resume, CancellationToken cancel)
        {
            using Model model = Model.Create("resnet20", 3, 3, 16, seed: 1, width: 0.1);
            var data = new TrainingData(Pictures(), ImagePipeline.Eval(Preprocessing.Half(16, 3)), Pictures(), ImagePipeline.Eval(Preprocessing.Half(16, 3)));
            var options = new TrainOptions
            {
                Steps = Steps, BatchSize = 8, GradientAccumulationSteps = 2, CheckpointEvery = 2, Name = name, OutputDir = runs, Resume = resume,
            };
            return new Trainer(new ClassifierTask(model, new ClassifierTaskOptions()), data, options).Run(null, cancel).Completed;
        }
    }

    private static (int, string, bool) Threads(int times)
    {
        const int threads = 4;
        using Model model = Model.Create("resnet20", 3, 3, 16, seed: 1, width: 0.1);
        float[] input = Input(), expected = new float[3];
        using (Session one = Session.Of(model)) one.Run(input, 1, expected);
        int different = 0;
        Parallel.For(0, threads, new ParallelOptions { MaxDegreeOfParallelism = threads }, _ =>
        {
            using Session session = Session.Of(model);
            float[] logits = new float[3];
            for (int i = 0; i < times; i++)
            {
                session.Run(input, 1, logits);
                if (!logits.AsSpan().SequenceEqual(expected)) Interlocked.Increment(ref different);
            }
        });
        return (threads * times, $"{different} passes give other logits than alone", different == 0);
    }

    private static (int, string, bool) Leaks(int times)
    {
        using Model model = Model.Create("resnet20", 3, 3, 16, seed: 1, width: 0.1);
        using Session session = Session.Of(model);
        float[] input = Input(), logits = new float[3];
        for (int i = 0; i < 100; i++) session.Run(input, 1, logits);
        long pooled = TensorPool.BytesInUse, managed = GC.GetTotalMemory(forceFullCollection: true);
        for (int i = 0; i < times; i++) session.Run(input, 1, logits);
        long more = TensorPool.BytesInUse - pooled, grown = GC.GetTotalMemory(forceFullCollection: true) - managed;
        return (times, $"{more} bytes of tensors and {Math.Max(grown, 0) >> 10} KB of managed memory more than before", more == 0 && grown < 1 << 20);
    }

    private static float[] Input()
    {
        float[] input = new float[3 * 16 * 16];
        var rng = new Rng(2);
        foreach (ref float x in input.AsSpan()) x = 2 * rng.NextFloat() - 1;
        return input;
    }

    private static MemoryDataset Pictures()
    {
        const int count = 24;
        byte[] pixels = new byte[count * 16 * 16 * 3];
        new Random(3).NextBytes(pixels);
        return new MemoryDataset("noise", ["a", "b", "c"], 16, 16, 3, pixels, [.. Enumerable.Range(0, count).Select(i => (byte)(i % 3))]);
    }
}
