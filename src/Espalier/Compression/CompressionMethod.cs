namespace Espalier.Compression;

/// <summary>
/// A way to make a network smaller, together with what it is told: every option is an init property, those that only one method
/// has on its own class. <c>new CompressionJob(model, data, method).Run()</c> carries it out.
/// </summary>
public abstract record CompressionMethod : CompressionOptions
{
    /// <summary>What the command line calls it.</summary>
    public abstract string Name { get; }

    /// <summary>What it does, in one line.</summary>
    public abstract string Purpose { get; }

    /// <summary>The options that only this method has, by the names that the command line has for them.</summary>
    public virtual IReadOnlyList<MethodSetting> Settings => [];

    /// <summary>Whether it makes a network smaller; one that only trains in its own way leaves the size as it is.</summary>
    public virtual bool Removes => true;

    /// <summary>Whether a target says how much work or how many channels are left; else none may be given.</summary>
    public virtual bool TakesTarget => true;

    /// <summary>Whether it trains in its own way before it removes, for <see cref="CompressionOptions.TrainSteps"/>.</summary>
    public virtual bool TrainsFirst => false;

    /// <summary>Whether <see cref="CompressionOptions.Recover"/> has anything to fit: channels that go, and what read them.</summary>
    public virtual bool Recovers => Removes;

    /// <summary>Whether it looks at labels, besides any training.</summary>
    public virtual bool NeedsLabels => true;

    /// <summary>Whether it looks at images at all, besides any training.</summary>
    public virtual bool NeedsImages => true;

    /// <summary>What networks must not have been through: see <see cref="CompressionOrder"/>.</summary>
    public virtual IReadOnlyList<Refusal> Refuses => [];

    /// <summary>What a network has been through afterwards, besides what it had.</summary>
    public virtual NetworkTraits Leaves => NetworkTraits.None;

    /// <summary>What the gradients of all weights are for, as the end of the sentence "TrainOnly leaves weights without gradients, by
    /// which ..."; null where some may be missing.</summary>
    private protected virtual string? ByGradients => null;

    /// <summary>
    /// Makes the job's model smaller for good; training is part of it where the method has some. Called by the job that was made
    /// with this method.
    /// </summary>
    /// <exception cref="EspalierException">The method has nothing to work on in this model, or the target cannot be reached.
    /// </exception>
    public abstract void Run(CompressionJob job);

    /// <summary>This method with one of <see cref="Settings"/> as text.</summary>
    /// <exception cref="EspalierException">There is no such setting, or the value is not allowed.</exception>
    public CompressionMethod Set(string name, string value)
    {
        MethodSetting setting = Settings.FirstOrDefault(s => s.Name == name)
            ?? throw new EspalierException($"{name}: {Name} has " + (Settings.Count == 0 ? "no settings"
                : $"the settings {string.Join(", ", Settings.Select(s => s.Name))}"));
        return setting.Set(this, value) ?? throw new EspalierException($"{name}={value}: it is {setting.Allowed}");
    }

    /// <exception cref="EspalierException">An option is out of its range; the message names the property.</exception>
    internal void Check()
    {
        foreach (MethodSetting s in Settings)
        {
            if (s.Set(this, s.Of(this)) is null)
                throw new EspalierException($"{s.Property} of {GetType().Name} is {s.Of(this)}; it is {s.Allowed}");
        }
        if (!TakesTarget && HasTarget)
            throw new EspalierException($"{Name} changes no shapes, so there is no target to reach; leave TargetFlops, TargetTime, "
                + "TargetLatency, Ratio and Threshold out");
        if (Rounds < 1) throw new EspalierException($"Rounds is {Rounds}; it is at least 1");
        if (TrainSteps < 0 || FineTuneSteps < 0)
            throw new EspalierException($"TrainSteps is {TrainSteps} and FineTuneSteps {FineTuneSteps}; both are at least 0");
        if (TrainSteps > 0 && !TrainsFirst)
            throw new EspalierException($"{Name} trains nothing before it removes; leave TrainSteps out, FineTuneSteps are trained afterwards");
        if (ByGradients is { } what && Training.TrainOnly.Count > 0)
            throw new EspalierException($"TrainOnly leaves weights without gradients, by which {what}: leave TrainOnly out");
        if (Recover is not null && !Recovers)
            throw new EspalierException($"{Name} removes no channels here, so there is nothing to fit again; leave Recover out");
        Recover?.Checked();
        if (RankBatches < 0) throw new EspalierException($"RankBatches is {RankBatches}; it is at least 0");
    }
}
