namespace Espalier.Compression;

/// <summary>A way to make a network smaller, by the name that the command line uses.</summary>
public interface ICompressionMethod
{
    /// <summary>Such as "taylor".</summary>
    string Name { get; }

    /// <summary>What it does, in one line.</summary>
    string Purpose { get; }

    /// <summary>What can be set with --set NAME=VALUE, with its default and what it means.</summary>
    IReadOnlyList<MethodSetting> Settings => [];

    /// <summary>
    /// Whether it makes a network smaller with these options; one that only trains in its own way leaves the size as it is.
    /// </summary>
    bool Removes(CompressionOptions options) => true;

    /// <summary>Makes the job's model smaller for good; training is part of it where the method has some.</summary>
    /// <exception cref="EspalierException">The method has nothing to work on in this model, or the target cannot be reached.</exception>
    void Run(CompressionJob job);
}

/// <summary>An option that only one method has.</summary>
public sealed record MethodSetting(string Name, string Default, string Meaning);
