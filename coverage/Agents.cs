using System.Globalization;
using Espalier.Inference;
using Espalier.Tensors;

namespace Espalier.Coverage;

/// <summary>A trained transformer with agents beside its ONNX file in ONNX Runtime: as many tokens left, the same output.</summary>
internal static class Agents
{
    private const int Images = 4;
    private const float Tolerance = 1e-4f;

    public static int Run(string trained, string exported, string threshold)
    {
        float at = float.Parse(threshold, CultureInfo.InvariantCulture);
        using Model model = Model.Open(trained);
        using Session session = model.Session(new SessionOptions { Pruning = Pruning.Threshold(at) });
        using var peer = new OnnxPeer(exported);
        int[] shape = [1, session.Channels, session.ImageSize, session.ImageSize];
        var rng = new Rng(6);
        bool same = true, dropped = false;
        for (int i = 0; i < Images; i++)
        {
            float[] image = new float[new Shape(shape).Length], logits = new float[session.NumClasses];
            foreach (ref float x in image.AsSpan()) x = rng.NextFloat(-1, 1);
            var trace = new TokenTrace();
            session.Run(image, 1, logits, trace);
            long[] left = [.. trace.Counts(0).ToArray()[1..].Select(n => (long)n)];
            float off = (float)OnnxPeer.Difference(peer.Run(image, shape), logits);
            bool equal = left.SequenceEqual(peer.Run<long>(image, shape, "tokens"));
            (same, dropped) = (same && equal && off <= Tolerance, dropped || left[^1] < session.Tokens);
            Console.WriteLine(FormattableString.Invariant($"of {session.Tokens} tokens {string.Join(", ", left)} are left after the agents ")
                + FormattableString.Invariant($"of blocks {string.Join(", ", session.AgentLayers)}; ONNX Runtime: ")
                + FormattableString.Invariant($"{(equal ? "as many" : "others")}, output off by {off:0.0e+0} of the largest"));
        }
        Console.WriteLine(same && dropped ? "passed" : same ? "failed: nothing was dropped" : "failed");
        return same && dropped ? 0 : 1;
    }
}
