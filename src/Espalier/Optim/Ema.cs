using System.Numerics;
using Espalier.Tensors;

namespace Espalier.Optim;

/// <summary>
/// Exponential moving averages of weights (and of buffers, where they are given): shadow = d·shadow + (1 - d)·weight after each
/// step, with d = min(decay, (1 + t) / (10 + t)) while it warms up, t the updates before this one.
/// </summary>
public sealed class Ema : IDisposable
{
    private readonly (string Name, Tensor Value, Tensor Shadow)[] entries;
    private bool swapped;

    /// <param name="values">
    /// Parameters and buffers, usually <c>model.StateDict()</c>; the averages start at what they hold.
    /// </param>
    public Ema(IEnumerable<(string Name, Tensor Value)> values, double decay, bool warmup = true)
    {
        if (decay is not (>= 0 and < 1)) throw new ArgumentOutOfRangeException(nameof(decay), decay, "the decay is in [0, 1)");
        (Decay, Warmup) = (decay, warmup);
        entries = [.. values.Select(v => (v.Name, v.Value, Tensor.Unscoped(v.Value.Shape)))];
        foreach (var (_, value, shadow) in entries) shadow.CopyFrom(value);
    }

    public double Decay { get; }

    public bool Warmup { get; }

    /// <summary>How often <see cref="Update"/> ran; set when a checkpoint is loaded.</summary>
    public long Updates { get; set; }

    /// <summary>The averages under the names of what they average.</summary>
    public IEnumerable<(string Name, Tensor Value)> State() => entries.Select(e => (e.Name, e.Shadow));

    /// <summary>Takes the weights of now into the averages.</summary>
    public void Update()
    {
        if (swapped) throw new InvalidOperationException("the averages are in the model; dispose what Swap returned first");
        double decay = Warmup ? Math.Min(Decay, (1.0 + Updates) / (10.0 + Updates)) : Decay;
        var rule = new Rule(new((float)(1 - decay)));
        foreach (var (_, value, shadow) in entries) ElementUpdate.Run(rule, value, shadow, null, null);
        Updates++;
    }

    /// <summary>Puts the averages into the model until the result is disposed: <c>using (ema.Swap()) Evaluate();</c></summary>
    public Swapped Swap()
    {
        if (swapped) throw new InvalidOperationException("the averages are in the model already");
        Exchange();
        swapped = true;
        return new Swapped(this);
    }

    public void Dispose()
    {
        foreach (var (_, _, shadow) in entries) shadow.Dispose();
    }

    private void Exchange()
    {
        foreach (var (_, value, shadow) in entries) ElementUpdate.Run(default(ExchangeRule), shadow, value, shadow, null);
    }

    /// <summary>Puts the weights back when disposed.</summary>
    public readonly struct Swapped : IDisposable
    {
        private readonly Ema ema;

        internal Swapped(Ema ema) => this.ema = ema;

        public void Dispose()
        {
            if (!ema.swapped) return;
            ema.Exchange();
            ema.swapped = false;
        }
    }

    private readonly struct Rule(Vector<float> rest) : IElementRule
    {
        public static int States => 0;

        // An infinite constant, such as a mask's, less itself would be no number.
        public void Apply(Vector<float> x, ref Vector<float> y, ref Vector<float> a, ref Vector<float> b) =>
            y = Vector.ConditionalSelect(Vector.Equals(x, y), y, y + rest * (x - y));
    }

    /// <summary>y and a change places; x is not used.</summary>
    private readonly struct ExchangeRule : IElementRule
    {
        public static int States => 1;

        public void Apply(Vector<float> x, ref Vector<float> y, ref Vector<float> a, ref Vector<float> b) => (y, a) = (a, y);
    }
}
