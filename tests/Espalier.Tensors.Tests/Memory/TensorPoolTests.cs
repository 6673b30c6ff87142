using Espalier.Tensors.Memory;

namespace Espalier.Tensors.Tests.Memory;

[Collection("memory")]
public unsafe class TensorPoolTests
{
    // Tensors that earlier tests forgot must not come back to the pool in the middle of a count.
    public TensorPoolTests()
    {
        GC.Collect();
        GC.WaitForPendingFinalizers();
    }

    [Fact]
    public void FreedBlocksAreUsedAgain()
    {
        TensorPool.Trim();
        long inUse = TensorPool.BytesInUse;
        var first = Tensor.Unscoped(new Shape(1000));
        long held = TensorPool.BytesHeld;
        Assert.True(TensorPool.BytesInUse >= inUse + 4000);
        float* block = first.Data;
        first.Dispose();
        Assert.Equal(inUse, TensorPool.BytesInUse);
        using (var second = Tensor.Unscoped(new Shape(1001)))
            Assert.True(block == second.Data, "a block of the same class was not reused");
        Assert.Equal(held, TensorPool.BytesHeld);
        TensorPool.Trim();
        Assert.True(TensorPool.BytesHeld < held);
    }

    [Fact]
    public void BlocksAreAlignedAndWasteAtMostAQuarter()
    {
        foreach (int n in (int[])[1, 63, 64, 65, 100, 1000, 1025, 12_345, 1_000_001])
        {
            long before = TensorPool.BytesInUse;
            using var t = Tensor.Unscoped(new Shape(n));
            Assert.Equal(0, (nint)t.Data % 64);
            Assert.InRange(TensorPool.BytesInUse - before, 4L * n, Math.Max(256, 5L * n + 64));
        }
    }

    [Fact]
    public void PeakIsTheMostAtOnce()
    {
        TensorPool.ResetPeak();
        long before = TensorPool.PeakBytesInUse;
        for (int i = 0; i < 3; i++)
        {
            using var scope = new Scope();
            Tensor.Zeros(new Shape(1024));
            Tensor.Zeros(new Shape(1024));
        }
        Assert.Equal(before + 2 * 4096, TensorPool.PeakBytesInUse);
    }

    [Fact]
    public void TrainingStepsKeepMemoryFlat()
    {
        using Tensor w = Tensor.Parameter(new Shape(16, 16));
        var rng = new Rng(1);
        foreach (ref float value in w.Span) value = rng.NextNormal();
        long before = TensorPool.BytesInUse, held = 0;
        for (int step = 0; step < 100; step++)
        {
            using var scope = new Scope();
            using var recording = new Recording();
            Tensor x = Tensor.Full(new Shape(32, 16), 0.1f);
            Tensor h = F.Relu(F.MatMul(x, w)), logits = F.Add(F.MatMul(h, w, transposeB: true), h);
            recording.Backward(F.CrossEntropy(logits, new int[32], 0.1f));
            Assert.NotNull(w.Grad);
            w.ClearGrad();
            if (step == 1) held = TensorPool.BytesHeld;
        }
        Assert.Equal(before, TensorPool.BytesInUse);
        Assert.Equal(held, TensorPool.BytesHeld);
    }

    /// <summary>As in a training that learns to prune: every few steps all tensors are a little smaller.</summary>
    [Fact]
    public void SizesThatNobodyAsksForAnyMoreAreGivenBack()
    {
        TensorPool.Trim();
        TensorPool.ResetPeak();
        long most = 0;
        for (int size = 1 << 20; size > 1 << 12; size -= size / 8)
        {
            using var scope = new Scope();
            for (int i = 0; i < 4; i++) Tensor.Unscoped(new Shape(size)).Dispose();
            Tensor[] together = [.. Enumerable.Range(0, 4).Select(_ => new Tensor(new Shape(size)))];
            Assert.Equal(4, together.Length);
            most = Math.Max(most, TensorPool.BytesHeld);
        }
        Assert.InRange(most, 1, 2 * TensorPool.PeakBytesInUse);
    }

    [Fact]
    public void AnAllocationThatFailsIsNotCounted()
    {
        long inUse = TensorPool.BytesInUse, held = TensorPool.BytesHeld, peak = TensorPool.PeakBytesInUse;
        Assert.Throws<OutOfMemoryException>(() => Tensor.Unscoped(new Shape(int.MaxValue, 1 << 20)));
        Assert.Equal(inUse, TensorPool.BytesInUse);
        Assert.InRange(TensorPool.BytesHeld, 0, held);
        Assert.Equal(peak, TensorPool.PeakBytesInUse);
    }

    [Fact]
    public void ViewsShareABlockUntilTheLastOneGoes()
    {
        long before = TensorPool.BytesInUse;
        var t = Tensor.Unscoped(new Shape(2, 3));
        t.Fill(1);
        Tensor view;
        using (new Scope()) view = t.View(new Shape(6)).Keep();
        t.Dispose();
        t.Dispose();
        Assert.Equal([1, 1, 1, 1, 1, 1], view.ToArray());
        view.Dispose();
        Assert.Equal(before, TensorPool.BytesInUse);
    }
}
