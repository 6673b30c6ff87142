using Espalier.Inference;
using Espalier.Models;

namespace Espalier.Peers;

/// <summary>Inference sessions from files.</summary>
internal static class Sessions
{
    public static VitSession Open(string weights, SessionOptions options)
    {
        using LoadedModel model = ModelFile.Load(weights);
        return model.Apt is { } apt ? new VitSession(apt, options) : new VitSession(model.Vit, options);
    }
}
