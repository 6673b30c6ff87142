namespace Espalier.Compression;

/// <summary>A method that searches once for any number of budgets.</summary>
public interface ISharedSearch
{
    /// <summary>File of the search: read where it is there, written where it is not; empty for none.</summary>
    string Searched { get; }

    /// <summary>The same method with another file.</summary>
    CompressionMethod SearchedIn(string file);
}
