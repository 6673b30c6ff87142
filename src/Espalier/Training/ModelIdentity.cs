using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Espalier.Models;
using Espalier.Tensors;

namespace Espalier.Training;

/// <summary>A network in one line, for the state of a run: one that goes on must have the same.</summary>
internal static class ModelIdentity
{
    /// <summary>What people know it by, and a digest of its graph, which differs where only heads or strides do.</summary>
    public static string Of(Model model)
    {
        var text = new StringBuilder();
        foreach (GraphNode node in model.Graph.Nodes)
        {
            text.Append(node);
            foreach (var (name, value) in node.Op.Settings)
                text.Append(CultureInfo.InvariantCulture, $" {name}={(value is long[] list ? string.Join(',', list) : value)}");
            text.Append('\n');
        }
        string digest = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text.ToString())))[..8];
        return $"{model.Description}, images {model.Channels} x {model.ImageSize} x {model.ImageSize}, {model.NumClasses} classes, "
            + $"{model.ParameterCount} parameters, graph {digest}{PreprocessingDefaults.Mark(model.Card.Preprocessing)}";
    }
}
