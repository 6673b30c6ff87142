using Espalier.Training;

namespace Espalier.Compression;

/// <summary>A method that trains networks in a way of its own, new ones too: <c>train --method NAME</c>.</summary>
public interface ITrainingMethod
{
    /// <summary>What the method wants dropout to be where nobody says; null for what is usual for the network.</summary>
    float? UsualDropout { get; }

    /// <summary>The method with the options that are usual in training.</summary>
    /// <param name="fromScratch">Whether the network's weights are new; else it works already and is fine-tuned.</param>
    CompressionMethod UsualFor(bool fromScratch);

    /// <summary>Puts into the network what the method needs, where it has none yet, and makes the task that trains it.</summary>
    /// <exception cref="EspalierException">An option is out of its range, or the method has nothing to work on in this network.
    /// </exception>
    ITrainingTask NewTask(Model model, float dropout, float labelSmoothing, ulong seed);
}

/// <summary>A method that searches once for any number of budgets.</summary>
public interface ISharedSearch
{
    /// <summary>File of the search: read where it is there, written where it is not; empty for none.</summary>
    string Searched { get; }

    /// <summary>The same method with another file.</summary>
    CompressionMethod SearchedIn(string file);
}
