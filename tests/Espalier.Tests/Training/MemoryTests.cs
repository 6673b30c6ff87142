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
                if (step is not (25 or 65 or 405)) return;
                GC.Collect();
                GC.WaitForPendingFinalizers();
                seen.Add((TensorPool.BytesInUse, TensorPool.BytesHeld));
            },
        };
        new Trainer(task, TinyTask.Data(), new TrainOptions
        {
            Steps = 405, BatchSize = 8, GradientAccumulationSteps = 2, EvalEvery = 10, CheckpointEvery = 20,
                OutputDir = folder.Path,
            Optimizer = "adamw", EmaDecay = 0.9,
        }).Run();
        Assert.Equal(3, seen.Count);
        Assert.Equal(seen[1], seen[2]);
        Assert.Equal(seen[0].InUse, seen[1].InUse);
    }
}
