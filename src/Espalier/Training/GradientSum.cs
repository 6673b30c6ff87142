using Espalier.Distributed;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>
/// Adds up gradients over ranks, in buckets that travel while the rest of the backward pass goes on: the last layers' gradients are
/// whole first, so the buckets begin with these (Li et al., PyTorch Distributed, VLDB 2020, section 3.2).
/// </summary>
internal sealed class GradientSum
{
    /// <summary>Values of a bucket, about; a parameter stays in one piece.</summary>
    private const int BucketValues = 4 << 20;

    private readonly IRanks ranks;
    private readonly List<Bucket> buckets = [];
    private readonly Dictionary<Tensor, Bucket> bucketOf = [];
    private int sent;

    /// <param name="parameters">The same on all ranks, in the order of the forward pass.</param>
    public GradientSum(IRanks ranks, IEnumerable<Tensor> parameters)
    {
        this.ranks = ranks;
        List<Tensor> part = [];
        long length = 0;
        foreach (Tensor p in parameters.Reverse())
        {
            if (part.Count > 0 && length + p.Length > BucketValues) Close();
            part.Add(p);
            length += p.Length;
        }
        if (part.Count > 0) Close();

        void Close()
        {
            var bucket = new Bucket([.. part]);
            buckets.Add(bucket);
            foreach (Tensor p in part) bucketOf[p] = bucket;
            part.Clear();
            length = 0;
        }
    }

    /// <summary>The gradient of a parameter is whole for this step. What is no parameter of the list is passed over.</summary>
    public void Ready(Tensor parameter)
    {
        if (!bucketOf.TryGetValue(parameter, out Bucket? bucket) || --bucket.Waiting > 0) return;
        // All ranks send in one order, whatever becomes ready first.
        while (sent < buckets.Count && buckets[sent].Waiting <= 0) buckets[sent++].Send(ranks);
    }

    /// <summary>Sends what has not gone yet, waits, and puts the sums in the place of the gradients.</summary>
    public void Finish()
    {
        while (sent < buckets.Count) buckets[sent++].Send(ranks);
        foreach (Bucket bucket in buckets) bucket.Receive();
        sent = 0;
    }

    private sealed class Bucket(Tensor[] parameters)
    {
        // Behind the gradients, for each whether a rank has one: what no rank has reached stays without.
        private readonly float[] values = new float[parameters.Sum(p => (int)p.Length) + parameters.Length];
        private Task? sum;

        public int Waiting { get; set; } = parameters.Length;

        public void Send(IRanks ranks)
        {
            int at = 0, has = values.Length - parameters.Length;
            foreach (Tensor p in parameters)
            {
                Span<float> place = values.AsSpan(at, (int)p.Length);
                if (p.Grad is { } gradient) gradient.Span.CopyTo(place);
                else place.Clear();
                values[has++] = p.Grad is null ? 0 : 1;
                at += place.Length;
            }
            sum = ranks.Sum(values.AsMemory());
        }

        public void Receive()
        {
            sum!.GetAwaiter().GetResult();
            (sum, Waiting) = (null, parameters.Length);
            int at = 0, has = values.Length - parameters.Length;
            foreach (Tensor p in parameters)
            {
                if (values[has++] > 0) values.AsSpan(at, (int)p.Length).CopyTo(p.MadeGrad().Span);
                at += (int)p.Length;
            }
        }
    }
}
