using System.Text.Json.Nodes;

namespace Espalier.Peers.Tests;

/// <summary>Both sides speak one protocol and compute the same from files of the same model.</summary>
public sealed class ServerTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("espalier-test-").FullName;

    public void Dispose() => Directory.Delete(folder, recursive: true);

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void Espalier_and_onnx_runtime_give_the_same_logits(int batch)
    {
        ModelFiles model = new ModelFolder(folder).Get("FM-64/49");
        float[] ours = Logits(new EspalierServer(), model, model.Weights, batch);
        float[] theirs = Logits(new OrtServer(), model, model.Onnx, batch);
        Assert.Equal(10 * batch, ours.Length);
        Assert.InRange(Agreement.Relative(ours, theirs), 0, 1e-4);
    }

    [Fact]
    public void What_is_wrong_with_a_file_is_an_answer()
    {
        string file = Path.Combine(folder, "broken");
        File.WriteAllText(file, "no model");
        var model = new CnnFiles("broken", Shapes.Cnn("ResNet-50"), 0, file, file);
        foreach (Server server in new Server[] { new EspalierServer(), new OrtServer() })
            Assert.NotEmpty((string)Answers(server, Load(model, file, 1))[0]["error"]!);
    }

    private static float[] Logits(Server server, ModelFiles model, string file, int batch)
    {
        JsonObject[] replies = Answers(server, new JsonObject { ["op"] = "hello" }, Load(model, file, batch),
            new JsonObject { ["op"] = "run", ["id"] = "m", ["seconds"] = 0 }, new JsonObject { ["op"] = "output", ["id"] = "m" },
            new JsonObject { ["op"] = "unload", ["id"] = "m" });
        Assert.Equal(5, replies.Length);
        Assert.Matches(@"^\d+\.\d+\.\d+", (string)replies[0]["version"]!);
        Assert.Single(replies[2]["times"]!.AsArray());
        return [.. replies[3]["output"]!.AsArray().Select(x => (float)x!)];
    }

    private static JsonObject Load(ModelFiles model, string file, int batch) => new()
    {
        ["op"] = "load", ["id"] = "m", ["file"] = file, ["input"] = model.Input, ["task"] = "infer", ["batch"] = batch,
        ["channels"] = model.Channels, ["size"] = model.ImageSize, ["threads"] = 1,
    };

    private static JsonObject[] Answers(Server server, params JsonObject[] requests)
    {
        var output = new StringWriter();
        server.Run(new StringReader(string.Join('\n', requests.Select(r => r.ToJsonString()))), output);
        return [.. output.ToString().Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => JsonNode.Parse(line)!.AsObject())];
    }
}
