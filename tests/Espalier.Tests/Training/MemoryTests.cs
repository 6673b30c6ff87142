using Espalier.Tensors.Memory;
using Espalier.Tests.Imaging;
using Espalier.Training;

namespace Espalier.Tests.Training;

/// <summary>Tests that look at the whole process's memory run when no other test does.</summary>
[CollectionDefinition("alone", DisableParallelization = true)]
public sealed class AloneCollection;

[Collection("alone")]
public sealed class MemoryTests
{
    [Fact]
    public void TrainingMemoryIsFlatFromStepToStep()
    {
        var seen = new List<(long InUse, long Held)>();
        using var folder = new TempFolder();
        using var task = new TinyTask
        {
            OnStep = step =>
            {
                // Without collections no finaliser gives back what was forgotten.
                if (step == 25) Assert.True(CollectAndStop());
                if (step is 25 or 65 or 105) seen.Add((TensorPool.BytesInUse, TensorPool.BytesHeld));
                if (step == 105) GC.EndNoGCRegion();
            },
        };
        new Trainer(task, TinyTask.Data(), new TrainOptions
        {
            Steps = 105, BatchSize = 8, GradientAccumulationSteps = 2, EvalEvery = 10, CheckpointEvery = 20,
            OutputDir = folder.Path, Optimizer = "adamw", EmaDecay = 0.9,
        }).Run();
        Assert.Equal(3, seen.Count);
        Assert.Equal(seen[0], seen[1]);
        Assert.Equal(seen[0], seen[2]);
    }

    private static bool CollectAndStop()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
        return GC.TryStartNoGCRegion(100 << 20);
    }
}
