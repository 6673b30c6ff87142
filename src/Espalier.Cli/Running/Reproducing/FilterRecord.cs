using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Espalier.Formats;
using Espalier.Models;

namespace Espalier.Cli.Running;

/// <summary>What came of one run; kept beside its model, so that a finished run is not done again.</summary>
/// <param name="Steps">Optimiser steps that the weights have behind them.</param>
/// <param name="Shape">The same for networks of the same shapes.</param>
internal sealed record FilterRecord(double Accuracy, long Parameters, double MultiplyAdds, long Steps, string Shape)
{
    public static FilterRecord? Read(string path) =>
        File.Exists(path) ? JsonSerializer.Deserialize(File.ReadAllText(path), FilterJson.Default.FilterRecord) : null;

    public void Write(string path) => AtomicFile.Write(path, stream =>
        JsonSerializer.Serialize(stream, this, FilterJson.Default.FilterRecord));

    /// <summary>A name for the shapes of all tensors.</summary>
    public static string ShapeOf(Cnn net)
    {
        string all = string.Join(';', net.StateDict().Select(t => $"{t.Name} {t.Value.Shape}"));
        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(all)))[..8];
    }
}

[JsonSourceGenerationOptions(WriteIndented = true)]
[JsonSerializable(typeof(FilterRecord))]
internal sealed partial class FilterJson : JsonSerializerContext;
