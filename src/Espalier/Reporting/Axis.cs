namespace Espalier.Reporting;

/// <summary>A linear scale whose ticks are 1, 2 or 5 times a power of ten.</summary>
internal sealed class Axis
{
    private readonly double from, to, step;
    private readonly ValueFormat format;

    /// <param name="min">Smallest value to show.</param>
    /// <param name="max">Largest value to show; made larger than min where it is not.</param>
    /// <param name="from">Pixel of the axis' start; may be above <paramref name="to"/>, as on a vertical axis.</param>
    /// <param name="to">Pixel of the axis' end.</param>
    /// <param name="tight">End at the values themselves instead of at the next tick.</param>
    public Axis(double min, double max, double from, double to, int ticks, bool tight = false,
        ValueFormat format = ValueFormat.Number)
    {
        if (!(max > min))
        {
            double room = Math.Max(Math.Abs(min) * 0.05, 0.01);
            (min, max) = (min - room, max + room);
        }
        step = NiceStep((max - min) / ticks);
        Min = tight ? min : Math.Floor(min / step + 1e-9) * step;
        Max = tight ? max : Math.Ceiling(max / step - 1e-9) * step;
        (this.from, this.to, this.format) = (from, to, format);
        var values = new List<double>();
        double first = Math.Ceiling(Min / step - 1e-9);
        for (double i = first; i * step <= Max + 1e-9 * step; i++) values.Add(i == 0 ? 0 : i * step);     // never -0, which is written with a minus
        Ticks = values;
    }

    public double Min { get; }

    public double Max { get; }

    public IReadOnlyList<double> Ticks { get; }

    /// <summary>The pixel of a value.</summary>
    public double this[double value] => from + (value - Min) / (Max - Min) * (to - from);

    public string Label(double tick)
    {
        double size = format == ValueFormat.Percent ? step * 100 : step;
        if (format == ValueFormat.Percent) return Figures.Percent(tick, Digits(size));
        if (tick == 0) return "0";
        if (step < 1e-5) return Figures.Significant(tick);
        return step >= 1000 ? Figures.Fixed(tick / 1000, Digits(step / 1000)) + "k" : Figures.Fixed(tick, Digits(size));
    }

    private static int Digits(double step) => Math.Clamp((int)-Math.Floor(Math.Log10(step) + 1e-9), 0, 8);

    private static double NiceStep(double rough)
    {
        double power = Math.Pow(10, Math.Floor(Math.Log10(rough))), lead = rough / power;
        return (lead <= 1.0001 ? 1 : lead <= 2.0001 ? 2 : lead <= 5.0001 ? 5 : 10) * power;
    }
}
